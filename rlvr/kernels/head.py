"""The fused head: hidden states to a loss and its gradients, with no ``[T, V]`` of logits.

Chunk by chunk of rows: one GEMM to logits; log-sum-exp, the target's log-prob and the entropy; the
loss's own derivatives with respect to those two numbers per token; the chunk's logits turned into
their gradient; two GEMMs. That is 6 T H V flops, the least there is (a rematerialising backward
takes 8), and memory for ``chunk * V`` numbers.

Because the gradients are made in the forward pass, the loss must be token-local: a token's share
may depend on that token alone. In return any such loss works here as plain torch.

Names of tensors end in what they are indexed by:
    T  tokens     H  hidden size     V  vocabulary     C  rows of one chunk
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor


class Mean(Protocol):
    """A metric as its sum and its count."""

    @property
    def total(self) -> Tensor: ...
    @property
    def count(self) -> Tensor: ...


class Share(Protocol):
    """What a token loss makes of some tokens."""

    @property
    def loss(self) -> Tensor: ...
    @property
    def metrics(self) -> Mapping[str, Mean]: ...


TokenLoss = Callable[[slice, Tensor, Tensor], Share]
"""``(rows, logprobs_C, entropy_C) -> share``; ``rows`` says which of the T tokens they are."""

Totals = dict[str, tuple[Tensor, Tensor]]
"""Metrics summed over chunks, each as ``(total, count)``."""


@dataclass(frozen=True, slots=True)
class HeadOutput:
    loss: Tensor
    """Sum of the chunks' shares (scalar); carries the gradient."""
    logprobs_T: Tensor
    """Of each target (nats); no gradient."""
    entropy_T: Tensor
    """Of the distribution that each target was drawn from (nats); no gradient."""
    metrics: Totals


def fused_head(
    hidden_TH: Tensor,
    weight_VH: Tensor,
    targets_T: Tensor,
    token_loss: TokenLoss,
    *,
    temperature: Tensor | float = 1.0,
    chunk: int = 1024,
) -> HeadOutput:
    """The loss over ``softmax(hidden @ weight.T / temperature)``, ready to be back-propagated.
    ``temperature`` is one number, or ``[T]`` (float32, or the input's type if that is float64).

    Statistics are fp32 (float64 for float64 input), the GEMMs are in the input's type, and the
    weight's gradient is summed over chunks in fp32. A row to which the loss gives no gradient
    costs no backward GEMM. The gradients exist once: a second backward raises RuntimeError.

    Raises:
        ValueError: shapes that do not fit, or a temperature or a chunk that is not positive.
    """
    _check(hidden_TH, weight_VH, targets_T, temperature, chunk)
    metrics: Totals = {}
    apply = cast(Callable[..., tuple[Tensor, Tensor, Tensor]], _FusedHead.apply)
    loss, logprobs_T, entropy_T = apply(
        hidden_TH, weight_VH, targets_T, token_loss, temperature, chunk, metrics
    )
    return HeadOutput(loss, logprobs_T, entropy_T, metrics)


@torch.no_grad()
def logprobs(
    hidden_TH: Tensor,
    weight_VH: Tensor,
    targets_T: Tensor,
    *,
    temperature: Tensor | float = 1.0,
    chunk: int = 1024,
) -> tuple[Tensor, Tensor]:
    """Log-prob of each target and entropy of its distribution, both ``[T]`` in nats."""
    _check(hidden_TH, weight_VH, targets_T, temperature, chunk)
    rows_of = _Rows(hidden_TH, weight_VH, chunk)
    tokens = hidden_TH.shape[0]
    logprobs_T = hidden_TH.new_empty(tokens, dtype=rows_of.dtype)
    entropy_T = torch.empty_like(logprobs_T)
    for rows in _chunks(tokens, chunk):
        logits_CV = rows_of.logits(rows)
        exponents_CV = rows_of.work(rows)
        logprobs_T[rows], entropy_T[rows], _ = statistics(
            logits_CV, exponents_CV, targets_T[rows], _of_rows(temperature, rows)
        )
    return logprobs_T, entropy_T


def statistics(
    logits_CV: Tensor, exponents_CV: Tensor, targets_C: Tensor, temperature: Tensor | float
) -> tuple[Tensor, Tensor, Tensor]:
    """``(logprobs_C, entropy_C, sums_C)`` of a chunk.

    Leaves ``logits_CV`` scaled and shifted so that each row's largest is 0, and fills
    ``exponents_CV`` with its exponentials, whose row sums are ``sums_C``.
    """
    if isinstance(temperature, Tensor):
        logits_CV.div_(temperature.unsqueeze(1))
    elif temperature != 1.0:
        logits_CV.div_(temperature)
    logits_CV.sub_(logits_CV.amax(dim=-1, keepdim=True))
    torch.exp(logits_CV, out=exponents_CV)
    sums_C = exponents_CV.sum(dim=-1)
    log_sums_C = sums_C.log()
    # As a batched product, for it needs no third [C, V] array.
    dots_C = torch.bmm(exponents_CV.unsqueeze(1), logits_CV.unsqueeze(2)).flatten()
    logprobs_C = logits_CV.gather(1, targets_C.unsqueeze(1)).squeeze(1) - log_sums_C
    return logprobs_C, log_sums_C - dots_C / sums_C, sums_C


def logits_gradient(
    logits_CV: Tensor,
    exponents_CV: Tensor,
    sums_C: Tensor,
    targets_C: Tensor,
    entropy_C: Tensor,
    slopes: tuple[Tensor, Tensor | None],
    temperature: Tensor | float,
) -> Tensor:
    """Gradient with respect to the raw logits, written over ``exponents_CV``.

    With p the probabilities, h the entropy, a and b the loss's slopes along the target's log-prob
    and along h:  dL/dz_j = (a (1[j = target] - p_j) - b p_j (log p_j + h)) / temperature.
    """
    along_logprob_C, along_entropy_C = slopes
    scale_C = -1.0 / (sums_C * temperature)
    if along_entropy_C is None:
        exponents_CV.mul_((along_logprob_C * scale_C).unsqueeze(1))
    else:
        logits_CV.add_((entropy_C - sums_C.log()).unsqueeze(1))
        logits_CV.mul_(along_entropy_C.unsqueeze(1)).add_(along_logprob_C.unsqueeze(1))
        exponents_CV.mul_(logits_CV).mul_(scale_C.unsqueeze(1))
    exponents_CV.scatter_add_(
        1, targets_C.unsqueeze(1), (along_logprob_C / temperature).unsqueeze(1)
    )
    return exponents_CV


class _FusedHead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_TH: Tensor,
        weight_VH: Tensor,
        targets_T: Tensor,
        token_loss: TokenLoss,
        temperature: Tensor | float,
        chunk: int,
        metrics: Totals,
    ) -> tuple[Tensor, Tensor, Tensor]:
        tokens = hidden_TH.shape[0]
        rows_of = _Rows(hidden_TH, weight_VH, chunk)
        gradients = _Gradients(
            hidden_TH if ctx.needs_input_grad[0] else None,
            weight_VH if ctx.needs_input_grad[1] else None,
            rows_of.dtype,
        )
        logprobs_T = hidden_TH.new_empty(tokens, dtype=rows_of.dtype)
        entropy_T = torch.empty_like(logprobs_T)
        loss = torch.zeros((), dtype=rows_of.dtype, device=hidden_TH.device)
        for rows in _chunks(tokens, chunk):
            logits_CV, exponents_CV = rows_of.logits(rows), rows_of.work(rows)
            targets_C, temperature_C = targets_T[rows], _of_rows(temperature, rows)
            logprobs_C, entropy_C, sums_C = statistics(
                logits_CV, exponents_CV, targets_C, temperature_C
            )
            logprobs_T[rows], entropy_T[rows] = logprobs_C, entropy_C
            share, slopes = share_and_slopes(token_loss, rows, logprobs_C, entropy_C)
            loss += share.loss.detach()
            add_up(metrics, share.metrics)
            if not gradients.wanted:
                continue
            hidden_CH = hidden_TH[rows]
            active_C = _active(slopes)
            if active_C is not None:
                logits_CV, exponents_CV = logits_CV[active_C], exponents_CV[active_C]
                hidden_CH, targets_C = hidden_CH[active_C], targets_C[active_C]
                sums_C, entropy_C = sums_C[active_C], entropy_C[active_C]
                slopes = slopes[0][active_C], None if slopes[1] is None else slopes[1][active_C]
                temperature_C = _of_rows(temperature_C, active_C)
            if not targets_C.numel():
                continue
            gradient_CV = logits_gradient(
                logits_CV, exponents_CV, sums_C, targets_C, entropy_C, slopes, temperature_C
            )
            gradients.add(rows, active_C, gradient_CV.to(hidden_TH.dtype), hidden_CH, weight_VH)
        ctx.gradients = gradients
        ctx.mark_non_differentiable(logprobs_T, entropy_T)
        return loss, logprobs_T, entropy_T

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        gradients = cast("_Gradients | None", ctx.gradients)
        if gradients is None:
            raise RuntimeError(
                "the fused head was back-propagated a second time; its gradients are scaled in "
                "place and exist once: call fused_head again"
            )
        ctx.gradients = None
        hidden_TH, weight_VH = gradients.scaled(outputs[0])
        return hidden_TH, weight_VH, None, None, None, None, None


class _Rows:
    """Logits of any rows, in buffers that all chunks share."""

    def __init__(self, hidden_TH: Tensor, weight_VH: Tensor, chunk: int) -> None:
        self._hidden_TH = hidden_TH
        self._weight_HV = weight_VH.t()
        self.dtype = torch.float64 if hidden_TH.dtype == torch.float64 else torch.float32
        shape = (min(chunk, hidden_TH.shape[0]), weight_VH.shape[0])
        self._logits_CV = hidden_TH.new_empty(shape, dtype=self.dtype)
        self._work_CV = torch.empty_like(self._logits_CV)

    def logits(self, rows: slice) -> Tensor:
        logits_CV = self._logits_CV[: rows.stop - rows.start]
        if self._hidden_TH.dtype == self.dtype:
            return torch.mm(self._hidden_TH[rows], self._weight_HV, out=logits_CV)
        return logits_CV.copy_(torch.mm(self._hidden_TH[rows], self._weight_HV))

    def work(self, rows: slice) -> Tensor:
        return self._work_CV[: rows.stop - rows.start]


class _Gradients:
    """Of the hidden states and of the weight; each only where it is wanted."""

    def __init__(
        self, hidden_TH: Tensor | None, weight_VH: Tensor | None, dtype: torch.dtype
    ) -> None:
        self._hidden_TH = None if hidden_TH is None else torch.zeros_like(hidden_TH)
        self._weight_VH = None if weight_VH is None else torch.zeros_like(weight_VH, dtype=dtype)
        self._weight_dtype = None if weight_VH is None else weight_VH.dtype
        self.wanted = hidden_TH is not None or weight_VH is not None

    def add(
        self,
        rows: slice,
        active_C: Tensor | None,
        gradient_CV: Tensor,
        hidden_CH: Tensor,
        weight_VH: Tensor,
    ) -> None:
        if self._hidden_TH is not None:
            if active_C is None:
                torch.mm(gradient_CV, weight_VH, out=self._hidden_TH[rows])
            else:
                self._hidden_TH[rows].index_copy_(0, active_C, gradient_CV @ weight_VH)
        if self._weight_VH is not None:
            if gradient_CV.dtype == self._weight_VH.dtype:
                self._weight_VH.addmm_(gradient_CV.t(), hidden_CH)
            else:
                self._weight_VH.add_(gradient_CV.t() @ hidden_CH)

    def scaled(self, scale: Tensor) -> tuple[Tensor | None, Tensor | None]:
        hidden_TH, weight_VH = self._hidden_TH, self._weight_VH
        if hidden_TH is not None:
            hidden_TH.mul_(scale)
        if weight_VH is not None:
            weight_VH = weight_VH.mul_(scale).to(self._weight_dtype)
        return hidden_TH, weight_VH


def share_and_slopes(
    token_loss: TokenLoss, rows: slice, logprobs_C: Tensor, entropy_C: Tensor
) -> tuple[Share, tuple[Tensor, Tensor | None]]:
    """The loss of some tokens, and its derivatives along their log-probs and entropies."""
    with torch.enable_grad():
        logprobs_C = logprobs_C.detach().requires_grad_()
        entropy_C = entropy_C.detach().requires_grad_()
        share = token_loss(rows, logprobs_C, entropy_C)
        if not share.loss.requires_grad:
            return share, (torch.zeros_like(logprobs_C), None)
        along_logprob_C, along_entropy_C = torch.autograd.grad(
            share.loss, (logprobs_C, entropy_C), allow_unused=True
        )
    if along_logprob_C is None:  # pyright: ignore[reportUnnecessaryComparison]
        along_logprob_C = torch.zeros_like(logprobs_C)
    return share, (along_logprob_C, along_entropy_C)


def _active(slopes: tuple[Tensor, Tensor | None]) -> Tensor | None:
    """Indices of the rows that the loss depends on; None for all of them.

    Leaving the others out saves their GEMMs, and keeps a NaN in them from being multiplied by 0.
    """
    active_C = slopes[0] != 0 if slopes[1] is None else (slopes[0] != 0) | (slopes[1] != 0)
    indices = active_C.nonzero().squeeze(1)
    return None if indices.numel() == active_C.numel() else indices


def add_up(totals: Totals, metrics: Mapping[str, Mean]) -> None:
    for name, mean in metrics.items():
        total, count = mean.total.detach(), mean.count.detach()
        if name in totals:
            total, count = totals[name][0] + total, totals[name][1] + count
        totals[name] = (total, count)


def _of_rows(temperature: Tensor | float, rows: slice | Tensor) -> Tensor | float:
    return temperature[rows] if isinstance(temperature, Tensor) else temperature


def _chunks(tokens: int, chunk: int) -> list[slice]:
    return [slice(start, min(start + chunk, tokens)) for start in range(0, tokens, chunk)]


def _check(
    hidden_TH: Tensor, weight_VH: Tensor, targets_T: Tensor, temperature: Tensor | float, chunk: int
) -> None:
    if (
        hidden_TH.ndim != 2
        or weight_VH.ndim != 2
        or targets_T.shape != hidden_TH.shape[:1]
        or hidden_TH.shape[1] != weight_VH.shape[1]
        or (isinstance(temperature, Tensor) and temperature.shape != targets_T.shape)
    ):
        raise ValueError(
            f"hidden {list(hidden_TH.shape)}, weight {list(weight_VH.shape)} and targets "
            f"{list(targets_T.shape)} do not fit: they must be [T, H], [V, H] and [T]"
        )
    # One for each row stays on its device unseen.
    if (not isinstance(temperature, Tensor) and temperature <= 0) or chunk < 1:
        raise ValueError(
            f"temperature={temperature}, chunk={chunk}: both must be positive (a greedy policy "
            "has no gradient)"
        )
