"""One data-parallel rank of the learner, on DeepSpeed.

One optimizer update is exact whatever the ranks, the ZeRO stage and the micro-batches: a loss comes
as this rank's share under one global denominator, DeepSpeed's average over ranks is undone by
multiplying with their number, and gradients are summed and reduced in fp32.
"""

from __future__ import annotations

import datetime
import importlib
import os
import resource
import socket
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor
from transformers.utils.logging import disable_progress_bar

from rlvr.learner.deepspeed_config import deepspeed_config, load_deepspeed
from rlvr.learner.loss import LossInputs, LossOutput
from rlvr.learner.mismatch import check_mismatch, measure_mismatch
from rlvr.learner.model import PolicyModel, load_policy
from rlvr.learner.packing import MicroBatch, RankWork, collate
from rlvr.learner.parameters import export, full_parameters, probe_tokens
from rlvr.learner.random_state import random_state, restore_random_state, seed_all
from rlvr.learner.report import UpdateReport
from rlvr.learner.settings import LearnerSettings
from rlvr.learner.tally import Tally
from rlvr.types import WeightVersion
from rlvr.weights.base import LogprobProbe, WeightManifest, WeightSender

TAG = "deepspeed"


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
        self._device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
        self._updates = 0
        self._is_checked = False
        self._engine: Any = None
        self._policy: PolicyModel
        self._sender: WeightSender

    def address(self) -> tuple[str, int]:
        """Host and a free port at which rank 0 will meet the others."""
        with socket.socket() as listener:
            listener.bind(("", 0))
            return _host(), int(listener.getsockname()[1])

    def start(self, host: str, port: int) -> None:
        """Join the other ranks, load the model and build the engine."""
        settings = self._settings
        os.environ.update(
            RANK=str(self._rank),
            WORLD_SIZE=str(self._world_size),
            # Each process sees only the GPU that is its own.
            LOCAL_RANK="0",
            LOCAL_WORLD_SIZE="1",
            LOCAL_SIZE="1",
            MASTER_ADDR=host,
            MASTER_PORT=str(port),
        )
        # Not at the top: it settles on an accelerator when it is imported.
        deepspeed = load_deepspeed()
        deepspeed.init_distributed(
            dist_backend="nccl" if self._device.type == "cuda" else "gloo",
            auto_mpi_discovery=False,
            verbose=False,
            timeout=datetime.timedelta(seconds=settings.collective_timeout),
        )
        disable_progress_bar()
        seed_all(settings.seed + self._rank)
        self._policy = load_policy(
            self._model_path,
            dtype=getattr(torch, settings.dtype),
            attention=settings.attention,
            temperature=settings.temperature,
            chunk=settings.head_chunk,
            activation_checkpointing=settings.activation_checkpointing,
        )
        parameters = list(self._policy.parameters())
        if settings.zero_stage == 3:
            deepspeed.zero.register_external_parameter(
                self._policy.head, self._policy.head.weight_VH
            )
        self._engine, *_ = deepspeed.initialize(
            model=self._policy,
            optimizer=self._optimizer(parameters),
            config=deepspeed_config(settings, parameters=sum(p.numel() for p in parameters)),
            dist_init_required=False,
        )
        channel = importlib.import_module(settings.channel)
        self._sender = cast(WeightSender, channel.Sender(checksum_bytes=settings.checksum_bytes))

    def train(self, work: RankWork) -> UpdateReport:
        """One optimizer update on this rank's part; all ranks call it with as many micro-batches.

        An update whose loss or gradient is not finite is left out and counted in
        ``actor/skipped``.

        Raises:
            MismatchError: in the first on-policy update since the start, the sampler's log-probs
                are not the learner's.
        """
        engine = self._engine
        tally = Tally(self._device)
        for index, samples_B in enumerate(work.microbatches):
            engine.set_gradient_accumulation_boundary(index == len(work.microbatches) - 1)
            microbatch = collate(work.sequences, samples_B, layout=work.layout)
            loss = self._share(microbatch, tally, measured=work.on_policy)
            # DeepSpeed averages over the ranks.
            engine.backward(loss * self._world_size, scale_wrt_gas=False)
        tally.add_max("perf/peak_rss_mb", _peak_rss_mb())
        tally.reduce()
        bound = self._settings.mismatch_bound
        if work.on_policy and not self._is_checked and bound is not None:
            self._is_checked = check_mismatch(tally, bound)
        lr = self._lr()
        norm = self._step(lr)
        self._updates += norm is not None
        means = tally.means | {"actor/pg_loss": (tally.sums["actor/pg_loss"], 1.0)}
        if norm is not None:
            means["actor/grad_norm"] = (norm, 1.0)
        return UpdateReport(
            means=means,
            sums={"actor/skipped": float(norm is None)},
            maxima=tally.maxima,
            latest={"actor/lr": lr},
        )

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
        self._engine.save_checkpoint(directory, tag=TAG, save_latest=False)
        torch.save(
            {
                "world_size": self._world_size,
                "zero_stage": self._settings.zero_stage,
                "updates": self._updates,
                "random": random_state(),
            },
            _rank_file(directory, self._rank),
        )
        dist.barrier()

    def load(self, directory: str) -> None:
        """Continue from what ``save`` wrote, bit for bit.

        Raises:
            ValueError: it was written by another number of ranks or at another ZeRO stage.
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
        loaded, _ = self._engine.load_checkpoint(directory, tag=TAG, load_lr_scheduler_states=False)
        if loaded is None:
            raise FileNotFoundError(f"{directory}: DeepSpeed found no checkpoint under {TAG!r}")
        self._updates = state["updates"]
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
        if self._engine is None:
            return
        self._sender.close()
        self._engine.destroy()
        self._engine = None
        importlib.import_module("deepspeed").comm.destroy_process_group()

    @property
    def _is_partitioned(self) -> bool:
        return self._settings.zero_stage == 3

    def _optimizer(self, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        settings = self._settings
        return torch.optim.AdamW(
            parameters,
            lr=settings.lr,
            betas=settings.betas,
            eps=settings.eps,
            weight_decay=settings.weight_decay,
        )

    def _lr(self) -> float:
        """Of the next update: it rises linearly and reaches ``lr`` with update ``warmup_steps``."""
        warmup = self._settings.warmup_steps
        return self._settings.lr * min(1.0, (self._updates + 1) / max(1, warmup))

    def _share(self, microbatch: MicroBatch, tally: Tally, *, measured: bool) -> Tensor:
        """This micro-batch's share of the loss, and its metrics into the tally."""
        tensors = {
            name: torch.from_numpy(array).to(self._device, non_blocking=True)
            for name in microbatch.__dataclass_fields__
            if (array := getattr(microbatch, name)) is not None
        }
        sampled_T, mask_T = tensors["sampled_logprobs_T"], tensors["mask_T"]

        def token_loss(rows: slice, logprobs_C: Tensor, entropy_C: Tensor) -> LossOutput:
            return self._settings.loss(
                LossInputs(
                    logprobs_T=logprobs_C,
                    entropy_T=entropy_C,
                    sampled_logprobs_T=sampled_T[rows],
                    advantages_T=tensors["advantages_T"][rows],
                    weights_T=tensors["weights_T"][rows],
                    mask_T=mask_T[rows],
                )
            )

        loss, logprobs_T, _, metrics = self._engine(
            tensors["token_ids_RS"],
            tensors.get("position_ids_RS"),
            tensors["sources_T"],
            tensors["targets_T"],
            token_loss,
        )
        tally.add_sum("actor/pg_loss", loss)
        for name, (total, count) in metrics.items():
            tally.add_mean(name, total, count)
        if measured:
            measure_mismatch(tally, logprobs_T, sampled_T, mask_T, tensors["fresh_T"])
        return loss

    def _step(self, lr: float) -> float | None:
        """The gradient's norm before clipping; None where it is not finite and nothing changed."""
        engine, settings = self._engine, self._settings
        for group in engine.optimizer.param_groups:
            group["lr"] = lr
        if settings.zero_stage > 0:
            engine.step()
            return float(engine.get_global_grad_norm()) if engine.was_step_applied() else None
        gradients = [p.grad for p in self._policy.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if not norm.isfinite():
            self._policy.zero_grad(set_to_none=True)
            return None
        if settings.grad_clip > 0:
            torch.nn.utils.clip_grads_with_norm_(
                self._policy.parameters(), settings.grad_clip, norm
            )
        engine.step()
        return float(norm)

    def _probe(self, tolerance: float) -> LogprobProbe:
        """The fixed sequence under the current weights, at temperature 1; collective."""
        token_ids_T = probe_tokens(self._policy.language_model.config.vocab_size)
        ids_T = token_ids_T.to(self._device)
        sources_T = torch.arange(len(ids_T) - 1, device=self._device)
        with torch.no_grad():
            _, logprobs_T, _, _ = self._engine(
                ids_T.unsqueeze(0), None, sources_T, ids_T[1:], None, 1.0
            )
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


def _host() -> str:
    """This machine's address as other machines see it. Nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:  # no route: a machine by itself
            return "127.0.0.1"
        return str(probe.getsockname()[0])
