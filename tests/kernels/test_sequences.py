"""The fused head under losses that look at many tokens at once, against plain autograd."""

from types import SimpleNamespace

import pytest
import torch

from rlvr.kernels.reference import reference_head
from rlvr.kernels.sequences import fused_head_of_sequences

T, H, V = 23, 6, 17
SEQUENCE_T = torch.tensor([0] * 9 + [1] * 1 + [2] * 8 + [3] * 5)
EXACT = {"rtol": 1e-11, "atol": 1e-12}


def case(*, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(T, H, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    weight = torch.randn(V, H, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    return hidden, weight, torch.randint(V, (T,), generator=generator)


def of_sequences(values_T):
    return values_T.new_zeros(4).index_add(0, SEQUENCE_T, values_T)


def measured(logprobs_T, loss):
    mean = SimpleNamespace(total=logprobs_T.detach().sum(), count=torch.tensor(len(logprobs_T)))
    return SimpleNamespace(loss=loss, metrics={"logprob": mean})


def squared_sums(rows, logprobs_T, entropy_T):
    return measured(logprobs_T, of_sequences(0.1 * logprobs_T).square().sum())


def pairs(rows, logprobs_T, entropy_T):
    sums_B = of_sequences(logprobs_T)
    margins_P = 0.1 * (sums_B[0::2] - sums_B[1::2])
    return measured(logprobs_T, -torch.nn.functional.logsigmoid(margins_P).sum())


def distance_of_mean_entropy(rows, logprobs_T, entropy_T):
    return measured(logprobs_T, (entropy_T.mean() - 0.4).abs())


def all_with_all(rows, logprobs_T, entropy_T):
    """Each token's log-prob with each other's entropy."""
    mixed = (logprobs_T.exp()[:, None] * entropy_T.square()[None]).sum() / T
    return measured(logprobs_T, mixed + logprobs_T.cumsum(0).square().mean())


def only_the_last(rows, logprobs_T, entropy_T):
    """Most rows get no gradient, and a chunk of them none at all."""
    return measured(logprobs_T, logprobs_T[-1] * entropy_T[-2])


MIXING = [squared_sums, pairs, distance_of_mean_entropy, all_with_all, only_the_last]


@pytest.mark.parametrize("loss", MIXING)
@pytest.mark.parametrize("temperature", [1.0, 0.6, "each its own"])
@pytest.mark.parametrize("chunk", [1, 4, T, 1000])
def test_value_and_gradients_are_those_of_plain_autograd(loss, temperature, chunk):
    if temperature == "each its own":
        temperature = torch.linspace(0.5, 1.5, T, dtype=torch.float64)
    tensors = case()
    output = fused_head_of_sequences(*tensors, loss, temperature=temperature, chunk=chunk)
    expected, logprobs_T, entropy_T = reference_head(*tensors, loss, temperature=temperature)
    torch.testing.assert_close(output.loss, expected, **EXACT)
    torch.testing.assert_close(output.logprobs_T, logprobs_T, **EXACT)
    torch.testing.assert_close(output.entropy_T, entropy_T, **EXACT)
    ours = torch.autograd.grad(output.loss, tensors[:2])
    theirs = torch.autograd.grad(expected, tensors[:2])
    assert all(gradient.any() for gradient in theirs)
    torch.testing.assert_close(ours, theirs, **EXACT)


@pytest.mark.parametrize("chunk", [1, 1000])
def test_the_loss_is_asked_once_with_all_tokens(chunk):
    asked = []

    def loss(rows, logprobs_T, entropy_T):
        asked.append((rows, len(logprobs_T), len(entropy_T)))
        return squared_sums(rows, logprobs_T, entropy_T)

    hidden, weight, targets = case()
    output = fused_head_of_sequences(hidden, weight, targets, loss, chunk=chunk)
    assert asked == [(slice(0, T), T, T)]
    total, count = output.metrics["logprob"]
    assert total.item() == pytest.approx(output.logprobs_T.sum().item())
    assert int(count) == T


def test_the_gradient_scales_with_what_comes_from_above():
    hidden, weight, targets = case()
    once = torch.autograd.grad(
        fused_head_of_sequences(hidden, weight, targets, all_with_all, chunk=4).loss,
        (hidden, weight),
    )
    thrice = torch.autograd.grad(
        3 * fused_head_of_sequences(hidden, weight, targets, all_with_all, chunk=4).loss,
        (hidden, weight),
    )
    torch.testing.assert_close(thrice, tuple(3 * gradient for gradient in once), **EXACT)


def test_a_rows_nan_stays_in_that_row_where_the_loss_leaves_it_out():
    hidden, weight, targets = case()
    hidden = hidden.detach().clone()
    hidden[2] = torch.nan
    hidden.requires_grad_()
    kept = torch.arange(T) != 2

    def loss(rows, logprobs_T, entropy_T):
        zeros_T = torch.zeros_like(logprobs_T)
        return measured(logprobs_T, torch.where(kept, logprobs_T, zeros_T).sum().square())

    output = fused_head_of_sequences(hidden, weight, targets, loss, chunk=4)
    d_hidden, d_weight = torch.autograd.grad(output.loss, (hidden, weight))
    assert output.loss.isfinite()
    assert not d_hidden[2].any()

    def without(rows, logprobs_T, entropy_T):
        return measured(logprobs_T, logprobs_T.sum().square())

    clean = hidden.detach()[kept].requires_grad_()
    expected, _, _ = reference_head(clean, weight, targets[kept], without)
    expected_hidden, expected_weight = torch.autograd.grad(expected, (clean, weight))
    torch.testing.assert_close(d_hidden[kept], expected_hidden, **EXACT)
    torch.testing.assert_close(d_weight, expected_weight, **EXACT)


def test_a_loss_of_constants_gives_zero_gradients_and_stays_in_the_graph():
    hidden, weight, targets = case()

    def nothing(rows, logprobs_T, entropy_T):
        return SimpleNamespace(loss=torch.tensor(2.0, dtype=torch.float64), metrics={})

    output = fused_head_of_sequences(hidden, weight, targets, nothing)
    assert output.loss.item() == 2.0
    assert not any(g.any() for g in torch.autograd.grad(output.loss, (hidden, weight)))


def test_bfloat16_is_as_good_as_its_logits():
    hidden, weight, targets = case(dtype=torch.bfloat16)
    output = fused_head_of_sequences(hidden, weight, targets, pairs, chunk=4)
    expected, *_ = reference_head(hidden, weight, targets, pairs)
    assert output.loss.dtype == torch.float32
    assert output.loss.item() == pytest.approx(expected.item(), rel=0.02)
    ours = torch.autograd.grad(output.loss, (hidden, weight))
    theirs = torch.autograd.grad(expected, (hidden, weight))
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == torch.bfloat16
        assert (one.double() - other.double()).norm() < 0.03 * other.double().norm()
