"""The policy that a KL penalty holds on to: fixed, or led by the one that is trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor

from rlvr.learner.deepspeed_config import deepspeed_config, load_deepspeed
from rlvr.learner.lora import adapters_off
from rlvr.learner.model import PolicyModel, load_policy
from rlvr.learner.settings import LearnerSettings, ReferenceSettings

COPYING = {"zero_hpz_partition_size": 1, "zero_quantized_nontrainable_weights": False}
"""Switches of DeepSpeed, off, that make it compute with copies of what is not trained, made once:
they would not move."""


class Reference:
    """A policy of its own that no optimizer touches. Every rank makes every call.

    At ZeRO stage 3 its parameters are partitioned exactly as the trained policy's are, so that it
    follows part by part and nothing is sent. In bfloat16 a moving reference keeps fp32 masters: a
    step of (1 - decay) times a small difference would be rounded away otherwise. What it follows
    are the weights that are computed with and sampled from.
    """

    def __init__(self, settings: LearnerSettings, *, device: torch.device) -> None:
        """Load it from ``settings.reference.model``.

        Raises:
            ValueError: there is no ``settings.reference``, or it could not move as it says.
        """
        self._settings = _reference_settings(settings)
        self._is_partitioned = settings.zero_stage == 3
        self._engine: Any = None
        self._policy = load_policy(
            self._settings.model,
            dtype=getattr(torch, settings.dtype),
            attention=settings.attention,
            chunk=settings.head_chunk,
            activation_checkpointing=False,
        ).requires_grad_(False)
        if self._is_partitioned:
            self._engine = _partitioned(self._policy, settings)
        else:
            self._policy.to(device)
        self._masters: dict[str, Tensor] = {}
        if self._settings.moves and settings.dtype != "float32":
            self._masters = {name: part.float() for name, part in self._parts().items()}

    @torch.no_grad()
    def logprobs(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """``[T]`` (nats): of each token of a micro-batch, at its own temperature."""
        return _logprobs(self._policy, tensors)

    @torch.no_grad()
    def follow(self, policy: PolicyModel, updates: int) -> None:
        """Move towards ``policy`` as the settings say; called after each of its updates.

        ``updates`` counts them, this one included. A moving average (T1, arXiv:2501.11651) becomes
        decay x itself + (1 - decay) x the policy; TR-DPO's reference (arXiv:2404.09656) becomes
        alpha x the policy + (1 - alpha) x itself after every ``sync_every`` updates.

        Raises:
            ValueError: the policy's parameters are not those of the reference.
        """
        share = self._share_of_policy(updates)
        if not share:
            return
        ours, theirs = self._writable_parts(), _parts_of(policy)
        _check_same(ours, theirs, self._settings.model)
        for name, part in ours.items():
            master = self._masters.get(name, part)
            master.lerp_(theirs[name].to(master), share)
            if master is not part:
                part.copy_(master)

    def save(self, directory: str) -> Mapping[str, Any]:
        """Write a moving reference; returns what ``load`` wants to be given beside it.

        Where every rank has all of it, rank 0 writes for the others.
        """
        if self._settings.moves and (self._is_partitioned or dist.get_rank() == 0):
            kept = {**self._parts(), **self._masters}
            torch.save(
                # Copied, for a tensor is written with all of the storage that it is a view of.
                {name: part.to("cpu", copy=True) for name, part in kept.items()},
                self._file(directory),
            )
        return {"moves": self._settings.moves}

    @torch.no_grad()
    def load(self, directory: str, state: Mapping[str, Any]) -> None:
        """Continue from what ``save`` wrote, bit for bit. A fixed one is as it was already.

        Raises:
            ValueError: the one that was saved moved and this one does not, or the other way round.
            FileNotFoundError: a moving one was not saved there.
        """
        if state["moves"] != self._settings.moves:
            was, now = (("moving" if m else "fixed") for m in (state["moves"], not state["moves"]))
            raise ValueError(
                f"{directory} was saved with a {was} reference and this one is {now}: resume with "
                "the saved learner.reference, or start anew from an export"
            )
        if not state["moves"]:
            return
        saved = torch.load(self._file(directory), map_location="cpu", weights_only=True)
        ours = self._writable_parts()
        _check_same(ours, saved, directory)
        for name, part in ours.items():
            if name in self._masters:
                self._masters[name].copy_(saved[name])
            part.copy_(saved[name])

    def close(self) -> None:
        if self._engine is not None:
            self._engine.destroy()

    def _share_of_policy(self, updates: int) -> float:
        settings = self._settings
        if settings.ema_decay is not None:
            return 1 - settings.ema_decay
        is_due = settings.sync_every and updates % settings.sync_every == 0
        return settings.sync_alpha if is_due else 0.0

    def _parts(self) -> dict[str, Tensor]:
        return _parts_of(self._policy)

    def _writable_parts(self) -> dict[str, Tensor]:
        if self._engine is not None:
            # Some parameters stay gathered between forward passes, which would not see a change.
            self._engine.optimizer.partition_all_parameters()
        return self._parts()

    def _file(self, directory: str) -> Path:
        rank = dist.get_rank() if self._is_partitioned else 0
        return Path(directory) / f"reference-{rank}.pt"


class AdapterReference:
    """A fixed reference for the price of none: the trained policy with its adapters off."""

    def __init__(self, policy: PolicyModel) -> None:
        self._policy = policy

    def logprobs(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """``[T]`` (nats): of each token of a micro-batch, at its own temperature."""
        with torch.no_grad(), adapters_off(self._policy.language_model):
            return _logprobs(self._policy, tensors)

    def follow(self, policy: PolicyModel, updates: int) -> None:
        """It stays: what is trained are the adapters."""

    def save(self, directory: str) -> Mapping[str, Any]:
        return {"moves": False}

    def load(self, directory: str, state: Mapping[str, Any]) -> None:
        """It is the policy's own frozen weights, and comes with these."""

    def close(self) -> None:
        """The engine is the policy's."""


AnyReference = Reference | AdapterReference


def load_reference(
    settings: LearnerSettings, policy: PolicyModel, *, device: torch.device
) -> AnyReference:
    """The reference of ``settings`` for ``policy``: its own base where adapters are trained on it.

    Raises:
        ValueError: there is no ``settings.reference``, or it could not move as it says.
    """
    reference = _reference_settings(settings)
    if settings.lora is not None and reference.model == policy.language_model.name_or_path:
        return AdapterReference(policy)
    return Reference(settings, device=device)


def _logprobs(policy: PolicyModel, tensors: Mapping[str, Tensor]) -> Tensor:
    # DeepSpeed's hooks are on the module itself: its engine adds nothing to a forward pass.
    _, logprobs_T, _, _ = policy(
        tensors["token_ids_RS"],
        tensors.get("position_ids_RS"),
        tensors["sources_T"],
        tensors["targets_T"],
        None,
        tensors["temperature_T"],
    )
    return logprobs_T


def _partitioned(policy: PolicyModel, settings: LearnerSettings) -> Any:
    """An engine that gathers each layer just around it, and has no optimizer."""
    deepspeed = load_deepspeed()
    deepspeed.zero.register_external_parameter(policy.head, policy.head.weight_VH)
    parameters = sum(p.numel() for p in policy.parameters())
    config = deepspeed_config(settings, grad_clip=0.0, parameters=parameters)
    config["zero_optimization"].pop("offload_optimizer", None)
    engine, *_ = deepspeed.initialize(model=policy, config=config, dist_init_required=False)
    return engine


def _parts_of(policy: PolicyModel) -> dict[str, Tensor]:
    """This rank's part of each parameter by name: under ZeRO-3 a flat piece, else all of it."""
    return {
        name: cast(Tensor, getattr(parameter, "ds_tensor", parameter.detach()))
        for name, parameter in policy.language_model.named_parameters()
    }


def _check_same(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], source: str) -> None:
    shapes, others = ({name: t.shape for name, t in ts.items()} for ts in (ours, theirs))
    differing = sorted(n for n in shapes | others if shapes.get(n) != others.get(n))
    if differing:
        raise ValueError(
            f"{source}: the reference and what it is to become differ in {len(differing)} "
            f"parameters, such as {differing[0]}; a moving reference takes the policy's own model "
            "in learner.reference.model"
        )


def _reference_settings(settings: LearnerSettings) -> ReferenceSettings:
    reference = settings.reference
    if reference is None:
        raise ValueError("learner.reference=None: it needs settings, such as a model")
    if not reference.moves:
        return reference
    if settings.lora is not None:
        raise ValueError(
            "learner.reference moves and learner.lora is set: adapters are no policy to average "
            "with; keep the reference fixed, or train without adapters"
        )
    zero = cast(Mapping[str, Any], settings.deepspeed.get("zero_optimization", {}))
    for name, off in COPYING.items():
        if settings.zero_stage == 3 and zero.get(name, off) != off:
            raise ValueError(
                f"learner.deepspeed.zero_optimization.{name}={zero[name]} with a reference that "
                "moves: DeepSpeed would go on computing with a copy of its start; leave it out, or "
                "keep the reference fixed"
            )
    return reference
