"""A model on DeepSpeed that makes one exact optimizer update at a time.

Exact whatever the ranks, the ZeRO stage and the micro-batches: a loss comes as this rank's share
under one global denominator, DeepSpeed's average over ranks is undone by multiplying with their
number, and gradients are summed and reduced in fp32.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from rlvr.learner.deepspeed_config import deepspeed_config, load_deepspeed
from rlvr.learner.settings import LearnerSettings, OptimizerSettings


class Engine:
    """What trains has ``requires_grad``; every rank makes every call."""

    def __init__(
        self,
        module: nn.Module,
        *,
        name: str,
        settings: LearnerSettings,
        optimizer: OptimizerSettings,
        torch_optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        """``name`` tells its files from those of other engines in a checkpoint."""
        self.module = module
        self.updates = 0
        """Those that were not skipped."""
        self._name = name
        self._settings = optimizer
        self._zero_stage = settings.zero_stage
        self._world_size = dist.get_world_size()
        every = list(module.parameters())
        self._parameters = [p for p in every if p.requires_grad]
        self._has_frozen = len(self._parameters) < len(every)
        if torch_optimizer is None:
            torch_optimizer = adamw(self._parameters, settings, optimizer)
        self._engine, *_ = load_deepspeed().initialize(
            model=module,
            model_parameters=self._parameters,
            optimizer=torch_optimizer,
            config=deepspeed_config(
                settings,
                grad_clip=optimizer.grad_clip,
                parameters=sum(p.numel() for p in every),
            ),
            dist_init_required=False,
        )

    def __call__(self, *args: Any) -> Any:
        return self._engine(*args)

    def backward(self, share: Tensor, *, last: bool) -> None:
        """Add a micro-batch's gradient; ``last`` says that the update's others are done.

        A share that is not finite makes all ranks skip the update, whatever its gradient is.
        """
        self._engine.set_gradient_accumulation_boundary(last)
        # NaN where the share is not finite, and 0 otherwise. In the gradient it reaches all ranks
        # and is dropped as such; asking first would wait for the device.
        poison = share.detach() * 0
        # DeepSpeed averages over the ranks.
        self._engine.backward(share * (self._world_size + poison), scale_wrt_gas=False)

    @property
    def lr(self) -> float:
        """Of the next update: it rises linearly and reaches ``lr`` with update ``warmup_steps``."""
        warmup = self._settings.warmup_steps
        return self._settings.lr * min(1.0, (self.updates + 1) / max(1, warmup))

    def step(self) -> float | None:
        """The gradient's norm before clipping; None where the gradient or a share of the loss is
        not finite, and nothing changed."""
        for group in self._engine.optimizer.param_groups:
            group["lr"] = self.lr
        norm = self._step_clipped() if self._zero_stage == 0 else self._step_zero()
        self.updates += norm is not None
        return norm

    def save(self, directory: str) -> Mapping[str, Any]:
        """Write DeepSpeed's files; returns what ``load`` wants to be given beside them."""
        self._engine.save_checkpoint(
            directory,
            tag=self._name,
            save_latest=False,
            exclude_frozen_parameters=self._has_frozen,
        )
        return {"updates": self.updates}

    def load(self, directory: str, state: Mapping[str, Any]) -> None:
        """Continue from what ``save`` wrote, bit for bit.

        Raises:
            FileNotFoundError: DeepSpeed finds nothing of it.
        """
        found = Path(directory, self._name).is_dir() and self._engine.load_checkpoint(
            directory,
            tag=self._name,
            load_lr_scheduler_states=False,
            # What is frozen is in the model that the run starts from.
            load_module_strict=not self._has_frozen,
        )
        if not found or found[0] is None:
            raise FileNotFoundError(f"{directory}: it holds no checkpoint of the {self._name}")
        self.updates = state["updates"]

    def close(self) -> None:
        self._engine.destroy()

    def _step_zero(self) -> float | None:
        self._engine.step()
        if not self._engine.was_step_applied():
            return None
        return float(self._engine.get_global_grad_norm())

    def _step_clipped(self) -> float | None:
        """At stage 0 DeepSpeed neither reports the norm nor skips what is not finite."""
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if not norm.isfinite():
            self.module.zero_grad(set_to_none=True)
            return None
        if self._settings.grad_clip > 0:
            torch.nn.utils.clip_grads_with_norm_(self._parameters, self._settings.grad_clip, norm)
        self._engine.step()
        return float(norm)


def adamw(
    parameters: list[nn.Parameter], settings: LearnerSettings, optimizer: OptimizerSettings
) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        parameters,
        lr=optimizer.lr,
        betas=optimizer.betas,
        eps=optimizer.eps,
        weight_decay=optimizer.weight_decay,
        # One pass over all states, and not one over each of them several times: in CPU memory that
        # is the time of a step, on a GPU thousands of small kernels. The parameters move there
        # later.
        fused=settings.offload != "none" or torch.cuda.is_available(),
    )
