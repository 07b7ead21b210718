"""The critic of a learner rank: values of tokens, and the updates that teach them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rlvr.learner.engine import Engine
from rlvr.learner.loss import LossOutput
from rlvr.learner.report import UpdateReport
from rlvr.learner.settings import CriticSettings, LearnerSettings
from rlvr.learner.tally import Tally
from rlvr.learner.value_loss import explained_variance_of, value_loss
from rlvr.learner.value_model import load_value_model

NAME = "critic"

REPORTED = ("critic/vf_loss", "critic/vf_clipfrac", "critic/vpred_mean", "critic/returns/mean")
"""Means that are metrics as they are; the others serve the explained variance."""

QUARTERS = {"/first_quarter": 0, "/last_quarter": 3}
"""Parts of the sequences whose values are judged apart: an outcome is easier to foresee near the
end, and what a critic has not unlearned shows at the beginning (arXiv:2503.01491)."""


class Critic:
    """A value model on an engine of its own. Every rank makes every call.

    A micro-batch is given as tensors on the rank's device, under the names of ``MicroBatch``.
    """

    def __init__(
        self,
        settings: LearnerSettings,
        *,
        device: torch.device,
        torch_optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer] | None = None,
    ) -> None:
        """``torch_optimizer`` makes another one than AdamW.

        Raises:
            ValueError: ``settings.critic`` is None.
        """
        self._settings = _critic_settings(settings)
        self._device = device
        model = load_value_model(
            self._settings.model,
            dtype=getattr(torch, settings.dtype),
            attention=settings.attention,
            activation_checkpointing=settings.activation_checkpointing,
        )
        self.model = model
        self._engine = Engine(
            model,
            name=NAME,
            settings=settings,
            optimizer=self._settings.optimizer,
            torch_optimizer=torch_optimizer and torch_optimizer(list(model.parameters())),
        )

    @property
    def is_pretraining(self) -> bool:
        """Whether the next update is one of those that leave the policy as it is."""
        return self._engine.updates < self._settings.only_steps

    @torch.no_grad()
    def values(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """``[T]`` (float32, in units of reward): what is expected before each token is drawn."""
        return self._forward(tensors)

    def train(self, microbatches: Sequence[Mapping[str, Tensor]]) -> UpdateReport:
        """One optimizer update towards ``returns_T``; ``values_T`` are those of the step's start.

        All ranks give as many micro-batches. An update whose loss or gradient is not finite
        is left out and counted in ``critic/skipped``.
        """
        tally = Tally(self._device)
        for index, tensors in enumerate(microbatches):
            share = self._share(tensors, tally)
            self._engine.backward(share, last=index == len(microbatches) - 1)
        tally.reduce()
        lr = self._engine.lr
        norm = self._engine.step()
        means = {name: tally.means[name] for name in REPORTED} | _explained(tally)
        if norm is not None:
            means["critic/grad_norm"] = (norm, 1.0)
        return UpdateReport(
            means=means,
            sums={"critic/skipped": float(norm is None)},
            maxima={},
            latest={"critic/lr": lr},
        )

    def save(self, directory: str) -> Mapping[str, Any]:
        """Write DeepSpeed's files; returns what ``load`` wants to be given beside them."""
        return self._engine.save(directory)

    def load(self, directory: str, state: Mapping[str, Any]) -> None:
        """Continue from what ``save`` wrote, bit for bit.

        Raises:
            FileNotFoundError: nothing of a critic was saved there.
        """
        self._engine.load(directory, state)

    def close(self) -> None:
        self._engine.close()

    def _forward(self, tensors: Mapping[str, Tensor]) -> Tensor:
        return self._engine(
            tensors["token_ids_RS"], tensors.get("position_ids_RS"), tensors["sources_T"]
        )

    def _share(self, tensors: Mapping[str, Tensor], tally: Tally) -> Tensor:
        """This micro-batch's share of the loss, and its metrics into the tally."""
        values_T, mask_T = self._forward(tensors), tensors["mask_T"]
        output = self._loss(values_T, tensors, mask_T)
        _add(tally, output, part="")
        quarter_T = quarters(tensors["sequence_T"])
        for part, quarter in QUARTERS.items():
            within_T = mask_T & (quarter_T == quarter)
            _add(tally, self._loss(values_T.detach(), tensors, within_T), part=part)
        return output.loss

    def _loss(self, values_T: Tensor, tensors: Mapping[str, Tensor], mask_T: Tensor) -> LossOutput:
        return value_loss(
            values_T,
            tensors["returns_T"],
            tensors["values_T"],
            tensors["weights_T"],
            mask_T,
            clip=self._settings.value_clip,
        )


def quarters(sequence_T: Tensor) -> Tensor:
    """``[T]``: the quarter of its sequence that a token stands in, 0 to 3; the only token of a
    sequence is in the first."""
    lengths_B = torch.bincount(sequence_T)
    starts_B = lengths_B.cumsum(0) - lengths_B
    positions_T = torch.arange(len(sequence_T), device=sequence_T.device) - starts_B[sequence_T]
    return positions_T * 4 // lengths_B[sequence_T]


def _add(tally: Tally, output: LossOutput, *, part: str) -> None:
    for name, mean in output.metrics.items():
        tally.add_mean(name + part, mean.total, mean.count)


def _explained(tally: Tally) -> dict[str, tuple[float, float]]:
    """From the sums over all ranks; left out where no token is, or the returns do not vary."""
    explained: dict[str, tuple[float, float]] = {}
    for part in ("", *QUARTERS):
        means = {
            name.removesuffix(part): total / count
            for name, (total, count) in tally.means.items()
            if name.endswith(part) and count
        }
        variance = explained_variance_of(means) if means else math.nan
        if not math.isnan(variance):
            explained[f"critic/vf_explained_var{part}"] = (variance, 1.0)
    return explained


def _critic_settings(settings: LearnerSettings) -> CriticSettings:
    if settings.critic is None:
        raise ValueError("learner.critic=None: a critic needs its settings, such as a model")
    return settings.critic
