"""One data-parallel rank of the learner: the policy, and what its objective needs beside it."""

from __future__ import annotations

import importlib
import resource
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers.utils.logging import disable_progress_bar

from rlvr.learner import diagnostics
from rlvr.learner.critic import Critic
from rlvr.learner.device_batch import DeviceBatch, device_batch
from rlvr.learner.engine import Engine, adamw
from rlvr.learner.lora import add_adapters
from rlvr.learner.loss import LossOutput
from rlvr.learner.mismatch import check_mismatch, measure_mismatch
from rlvr.learner.model import PolicyModel, check_packing, load_policy
from rlvr.learner.objective import Objective
from rlvr.learner.packing import RankWork
from rlvr.learner.parameters import export, full_parameters, probe_tokens
from rlvr.learner.random_state import random_state, restore_random_state, seed_all
from rlvr.learner.reference import AnyReference, load_reference
from rlvr.learner.rendezvous import free_address, join
from rlvr.learner.report import UpdateReport, merged
from rlvr.learner.settings import LearnerSettings
from rlvr.learner.tally import Tally
from rlvr.types import TokenScores, WeightVersion
from rlvr.weights.base import LogprobProbe, WeightManifest, WeightSender


class LearnerWorker:
    """Trains on what it is handed; knows neither problems nor rewards. Not thread-safe."""

    def __init__(
        self, *, name: str, rank: int, world_size: int, model: str, settings: LearnerSettings
    ) -> None:
        self.name = name
        self._rank = rank
        self._world_size = world_size
        self._model_path = model
        self._settings = settings
        loss = settings.loss
        self._objective = loss if isinstance(loss, Objective) else Objective(loss=loss)
        self._device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
        self._is_checked = False
        self._is_open = False
        self._policy: PolicyModel
        self._actor: Engine
        self._critic: Critic | None = None
        self._reference: AnyReference | None = None
        self._sender: WeightSender

    def address(self) -> tuple[str, int]:
        """Host and a free port at which rank 0 will meet the others."""
        return free_address()

    def start(self, host: str, port: int) -> None:
        """Join the other ranks, load the models and build their engines."""
        settings = self._settings
        deepspeed = join(
            (host, port),
            rank=self._rank,
            world_size=self._world_size,
            device=self._device,
            timeout=settings.collective_timeout,
        )
        disable_progress_bar()
        seed_all(settings.seed + self._rank)
        self._policy = load_policy(
            self._model_path,
            dtype=getattr(torch, settings.dtype),
            attention=settings.attention,
            chunk=settings.head_chunk,
            activation_checkpointing=settings.activation_checkpointing,
        )
        if settings.lora is not None:
            add_adapters(self._policy.language_model, settings.lora, seed=settings.seed)
        if settings.zero_stage == 3:
            deepspeed.zero.register_external_parameter(
                self._policy.head, self._policy.head.weight_VH
            )
        self._actor = Engine(
            self._policy,
            name="actor",
            settings=settings,
            optimizer=settings.optimizer,
            torch_optimizer=self._optimizer(
                [p for p in self._policy.parameters() if p.requires_grad]
            ),
        )
        if settings.layout == "packed":
            check_packing(self._policy, self._actor, device=self._device)
        if settings.critic is not None:
            self._critic = Critic(settings, device=self._device)
        if settings.reference is not None:
            self._reference = load_reference(settings, self._policy, device=self._device)
        channel = importlib.import_module(settings.channel)
        self._sender = cast(WeightSender, channel.Sender(checksum_bytes=settings.checksum_bytes))
        self._is_open = True

    def score(self, work: RankWork) -> list[TokenScores]:
        """What the models say of each sample's tokens as they are now, as far as it is used.

        All ranks call it with as many micro-batches; in the order of ``work.samples_B``.
        """
        columns: dict[str, list[Tensor]] = {}
        for samples_B in work.microbatches:
            tensors = device_batch(work, samples_B, self._device).tensors
            scored: dict[str, Tensor] = {}
            if self._settings.recompute_logprobs:
                scored["logprobs_T"] = self._logprobs(tensors)
            if self._reference is not None:
                scored["reference_logprobs_T"] = self._reference.logprobs(tensors)
            if self._critic is not None:
                scored["values_T"] = self._critic.values(tensors)
            # A dummy has answers too, and they are nobody's.
            for name, values_T in scored.items() if len(samples_B) else ():
                columns.setdefault(name, []).append(values_T.float().cpu())
        ends = np.cumsum(work.sequences.completion_lengths_B)[:-1]
        parts = {
            name: np.split(torch.cat(values).numpy(), ends) for name, values in columns.items()
        }
        return [
            # As compact as tensors, and no package is needed to read it.
            TokenScores(**{name: array("f", of_B[b].tobytes()) for name, of_B in parts.items()})
            for b in range(len(work.samples_B))
        ]

    def train(self, work: RankWork) -> UpdateReport:
        """One optimizer update on this rank's part; all ranks call it with as many micro-batches.

        An update whose loss or gradient is not finite is left out and counted in
        ``actor/skipped``. While the critic is pretrained the policy stays as it is; only its
        log-probs are held against the sampler's, once.

        Raises:
            MismatchError: in the first on-policy update since the start, the sampler's log-probs
                are not the learner's.
        """
        reports: list[UpdateReport] = []
        if self._critic is None or not self._critic.is_pretraining:
            reports.append(self._train_actor(work))
        elif work.on_policy and not self._is_checked:
            reports.append(self._measure_actor(work))
        if self._critic is not None:
            parts = [batch.tensors for batch in self._on_device(work)]
            reports.append(self._critic.train(parts))
        return merged(reports)

    def send_weights(
        self, version: WeightVersion, with_probe: bool, tolerance: float
    ) -> WeightManifest | None:
        """Put the current weights into the channel; all ranks call, rank 0 returns a manifest."""
        probe = self._probe(tolerance) if with_probe else None
        return self._sender.send(
            full_parameters(self._policy.language_model, partitioned=self._is_partitioned),
            version=version,
            probe=probe,
        )

    def save(self, directory: str) -> None:
        """Write this rank's part of the state into ``directory``; all ranks call it."""
        Path(directory).mkdir(parents=True, exist_ok=True)
        models = {name: part.save(directory) for name, part in self._stateful().items()}
        torch.save(
            {
                "world_size": self._world_size,
                "zero_stage": self._settings.zero_stage,
                "models": models,
                "lora": self._settings.lora,
                "objective": self._objective.state_dict(),
                "random": random_state(),
            },
            _rank_file(directory, self._rank),
        )
        dist.barrier()

    def load(self, directory: str) -> None:
        """Continue from what ``save`` wrote, bit for bit.

        Raises:
            ValueError: it was written by another number of ranks, at another ZeRO stage, or by a
                learner without the same models or adapters.
            FileNotFoundError: this rank's part is missing.
        """
        # Written by ``save`` alone; it holds Python's own random state, which is no tensor.
        state = torch.load(_rank_file(directory, self._rank), weights_only=False)
        saved = (state["world_size"], state["zero_stage"])
        here = (self._world_size, self._settings.zero_stage)
        if saved != here:
            raise ValueError(
                f"{directory} was saved by {saved[0]} ranks at ZeRO stage {saved[1]}, and this is "
                f"{here[0]} ranks at stage {here[1]}: optimizer state is cut to fit; resume with "
                "the saved learner.workers and learner.zero_stage, or start from an export of it"
            )
        parts = self._stateful()
        if state["models"].keys() != parts.keys():
            raise ValueError(
                f"{directory} holds the state of {', '.join(state['models'])}, and this learner "
                f"has {', '.join(parts)}: resume with the saved learner.critic, learner.reference "
                "and objective, or start from an export of it"
            )
        if state["lora"] != self._settings.lora:
            raise ValueError(
                f"{directory} was saved with learner.lora={state['lora']}, and this learner has "
                f"{self._settings.lora}: other weights train; resume with the saved one, or start "
                "from an export of it"
            )
        for name, part in parts.items():
            part.load(directory, state["models"][name])
        self._objective.load_state_dict(state["objective"])
        restore_random_state(state["random"])

    def export_hf(self, directory: str) -> None:
        """Write the weights as a Hugging Face directory; all ranks call it, rank 0 writes."""
        export(
            self._policy.language_model,
            Path(directory),
            tokenizer=self._model_path,
            partitioned=self._is_partitioned,
            writes=self._rank == 0,
        )
        dist.barrier()

    def close(self) -> None:
        """Leave the other ranks. Safe to call twice."""
        if not self._is_open:
            return
        self._is_open = False
        self._sender.close()
        for part in (self._actor, self._critic, self._reference):
            if part is not None:
                part.close()
        importlib.import_module("deepspeed").comm.destroy_process_group()

    @property
    def _is_partitioned(self) -> bool:
        return self._settings.zero_stage == 3

    def _optimizer(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        return adamw(parameters, self._settings, self._settings.optimizer)

    def _stateful(self) -> dict[str, Any]:
        parts: dict[str, Any] = {"actor": self._actor}
        if self._critic is not None:
            parts["critic"] = self._critic
        if self._reference is not None:
            parts["reference"] = self._reference
        return parts

    def _on_device(self, work: RankWork) -> Iterator[DeviceBatch]:
        """The micro-batches of an update, one after the other."""
        for samples_B in work.microbatches:
            yield device_batch(work, samples_B, self._device)

    def _train_actor(self, work: RankWork) -> UpdateReport:
        tally = Tally(self._device)
        for index, batch in enumerate(self._on_device(work)):
            share = self._share(batch, tally, measured=work.on_policy)
            self._actor.backward(share, last=index == len(work.microbatches) - 1)
        tally.add_max("perf/peak_rss_mb", _peak_rss_mb())
        tally.reduce()
        if work.on_policy:
            self._check(tally)
        lr = self._actor.lr
        norm = self._actor.step()
        # Nothing was measured of an update whose tokens are all masked.
        measured = {name: total / count for name, (total, count) in tally.means.items() if count}
        if norm is not None:
            if measured:
                self._objective.observe(measured)
            if self._reference is not None:
                self._reference.follow(self._policy, self._actor.updates)
        numbers = {"actor/pg_loss": tally.sums["actor/pg_loss"]}
        if work.on_policy and measured:
            numbers |= diagnostics.derived(measured)
        means = tally.means | {name: (value, 1.0) for name, value in numbers.items()}
        if norm is not None:
            means["actor/grad_norm"] = (norm, 1.0)
        return UpdateReport(
            means=means,
            sums={"actor/skipped": float(norm is None)},
            maxima=tally.maxima,
            latest={"actor/lr": lr},
        )

    def _measure_actor(self, work: RankWork) -> UpdateReport:
        """The mismatch in an update that does not train the policy."""
        tally = Tally(self._device)
        for batch in self._on_device(work):
            logprobs_T = self._logprobs(batch.tensors)
            measure_mismatch(tally, batch.inputs(logprobs_T, torch.zeros_like(logprobs_T)))
        tally.reduce()
        self._check(tally)
        return UpdateReport(means=tally.means, sums={}, maxima=tally.maxima, latest={})

    def _check(self, tally: Tally) -> None:
        """Hold the first on-policy update to the bound on the mismatch."""
        bound = self._settings.mismatch_bound
        if not self._is_checked:
            self._is_checked = bound is None or check_mismatch(tally, bound)

    def _share(self, batch: DeviceBatch, tally: Tally, *, measured: bool) -> Tensor:
        """This micro-batch's share of the loss, and its metrics into the tally."""

        def token_loss(rows: slice, logprobs_C: Tensor, entropy_C: Tensor) -> LossOutput:
            return self._objective(batch.inputs(logprobs_C, entropy_C, rows))

        tensors = batch.tensors
        loss, logprobs_T, entropy_T, metrics = self._actor(
            tensors["token_ids_RS"],
            tensors.get("position_ids_RS"),
            tensors["sources_T"],
            tensors["targets_T"],
            token_loss,
            tensors["temperature_T"],
            self._objective.whole_sequences,
        )
        tally.add_sum("actor/pg_loss", loss)
        for name, (total, count) in metrics.items():
            tally.add_mean(name, total, count)
        if measured:
            inputs = batch.inputs(logprobs_T, entropy_T)
            measure_mismatch(tally, inputs)
            means, maxima = diagnostics.measure(inputs)
            for name, mean in means.items():
                tally.add_mean(name, mean.total, mean.count)
            for name, value in maxima.items():
                tally.add_max(name, value)
        return loss

    @torch.no_grad()
    def _logprobs(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Of the completion tokens under the policy as it is ``[T]`` (nats)."""
        _, logprobs_T, _, _ = self._actor(
            tensors["token_ids_RS"],
            tensors.get("position_ids_RS"),
            tensors["sources_T"],
            tensors["targets_T"],
            None,
            tensors["temperature_T"],
        )
        return logprobs_T

    def _probe(self, tolerance: float) -> LogprobProbe:
        """The fixed sequence under the current weights, at temperature 1; collective."""
        token_ids_T = probe_tokens(self._policy.language_model.config.vocab_size)
        ids_T = token_ids_T.to(self._device)
        sources_T = torch.arange(len(ids_T) - 1, device=self._device)
        with torch.no_grad():
            _, logprobs_T, _, _ = self._actor(ids_T.unsqueeze(0), None, sources_T, ids_T[1:], None)
        return LogprobProbe(
            token_ids_T=tuple(cast(list[int], token_ids_T.tolist())),
            logprobs_T=tuple(cast(list[float], logprobs_T.tolist())),
            tolerance=tolerance,
        )


def _rank_file(directory: str, rank: int) -> Path:
    return Path(directory) / f"rank-{rank}.pt"


def _peak_rss_mb() -> float:
    """Of this process, in MiB; Linux counts it in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
