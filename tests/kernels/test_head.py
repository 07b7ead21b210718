"""The fused head against its float64 reference."""

import math
from types import SimpleNamespace

import pytest
import torch

from rlvr.kernels.head import fused_head, logprobs
from rlvr.kernels.reference import reference_head, reference_statistics

SHAPES = [(1, 1, 2), (1, 8, 17), (5, 3, 2), (7, 16, 33), (65, 24, 101)]


def case(T, H, V, *, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(T, H, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(V, H, generator=generator).to(dtype).requires_grad_()
    targets = torch.randint(V, (T,), generator=generator)
    return hidden, weight, targets


def weighted(T, *, along_entropy=0.0, seed=1):
    """A loss that is curved in the log-prob, differs by token, and may use the entropy."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(T, generator=generator, dtype=torch.float64)

    def token_loss(rows, logprobs_C, entropy_C):
        w = weights[rows].to(logprobs_C.dtype)
        loss = (w * torch.exp(0.3 * logprobs_C)).sum()
        if along_entropy:
            loss = loss + along_entropy * (w.abs() * entropy_C**2).sum()
        count = torch.tensor(len(w))
        mean = SimpleNamespace(total=logprobs_C.detach().sum(), count=count)
        return SimpleNamespace(loss=loss, metrics={"logprob": mean})

    return token_loss


def fused_gradients(hidden, weight, targets, token_loss, **settings):
    output = fused_head(hidden, weight, targets, token_loss, **settings)
    gradients = torch.autograd.grad(output.loss, [hidden, weight])
    return output, gradients


def reference_gradients(hidden, weight, targets, token_loss, **settings):
    hidden, weight = (x.detach().double().requires_grad_() for x in (hidden, weight))
    loss, logprobs_T, entropy_T = reference_head(hidden, weight, targets, token_loss, **settings)
    return (loss, logprobs_T, entropy_T), torch.autograd.grad(loss, [hidden, weight])


@pytest.mark.parametrize(("T", "H", "V"), SHAPES)
@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("along_entropy", [0.0, 0.7])
def test_values_and_gradients_are_the_references(T, H, V, temperature, along_entropy):
    hidden, weight, targets = case(T, H, V)
    loss = weighted(T, along_entropy=along_entropy)
    output, gradients = fused_gradients(
        hidden, weight, targets, loss, temperature=temperature, chunk=16
    )
    expected, expected_gradients = reference_gradients(
        hidden, weight, targets, loss, temperature=temperature
    )
    got = (output.loss, output.logprobs_T, output.entropy_T)
    for ours, theirs in zip((*got, *gradients), (*expected, *expected_gradients), strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=2e-4, atol=2e-5)


def test_float64_is_exact():
    hidden, weight, targets = case(9, 5, 13, dtype=torch.float64)
    loss = weighted(9, along_entropy=0.5)
    _, gradients = fused_gradients(hidden, weight, targets, loss, temperature=0.8, chunk=4)
    _, expected = reference_gradients(hidden, weight, targets, loss, temperature=0.8)
    torch.testing.assert_close(gradients, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 3, 64, 1000])
def test_chunks_change_nothing(chunk):
    hidden, weight, targets = case(65, 8, 31, dtype=torch.float64)
    loss = weighted(65, along_entropy=0.2)
    whole, expected = fused_gradients(hidden, weight, targets, loss, chunk=65)
    output, gradients = fused_gradients(hidden, weight, targets, loss, chunk=chunk)
    torch.testing.assert_close(gradients, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(output.loss, whole.loss, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(output.metrics["logprob"][0], whole.metrics["logprob"][0])
    assert int(output.metrics["logprob"][1]) == 65


def test_by_hand():
    # Two equal logits: log-prob and entropy are log(1/2) and log 2, and dL/dz = L' (1[t] - 1/2).
    hidden = torch.tensor([[2.0]], requires_grad=True)
    weight = torch.tensor([[3.0], [3.0]], requires_grad=True)

    def token_loss(rows, logprobs_C, entropy_C):
        return SimpleNamespace(loss=-4 * logprobs_C.sum(), metrics={})

    output = fused_head(hidden, weight, torch.tensor([1]), token_loss)
    output.loss.backward()
    assert output.logprobs_T.item() == pytest.approx(-math.log(2))
    assert output.entropy_T.item() == pytest.approx(math.log(2))
    assert weight.grad.tolist() == [[4.0], [-4.0]]
    assert hidden.grad.tolist() == [[0.0]]


def test_a_rows_nan_stays_in_that_row_where_the_loss_leaves_it_out():
    hidden, weight, targets = case(6, 4, 9)
    hidden = hidden.detach().clone()
    hidden[2] = float("nan")
    hidden.requires_grad_()
    kept = torch.tensor([True, True, False, True, True, True])

    def token_loss(rows, logprobs_C, entropy_C):
        zero = torch.zeros_like(logprobs_C)
        return SimpleNamespace(loss=torch.where(kept[rows], logprobs_C, zero).sum(), metrics={})

    output, (d_hidden, d_weight) = fused_gradients(hidden, weight, targets, token_loss, chunk=4)
    _, (expected_hidden, expected_weight) = reference_gradients(
        hidden.detach()[kept],
        weight,
        targets[kept],
        lambda rows, logprobs_C, entropy_C: SimpleNamespace(loss=logprobs_C.sum(), metrics={}),
    )
    assert output.loss.isfinite()
    assert d_hidden[2].tolist() == [0.0] * 4
    torch.testing.assert_close(d_hidden[kept].double(), expected_hidden, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(d_weight.double(), expected_weight, rtol=1e-4, atol=1e-5)


def test_a_nan_that_the_loss_uses_is_not_hidden():
    hidden, weight, targets = case(3, 4, 9)
    hidden = hidden.detach().clone()
    hidden[1] = float("nan")
    _, (_, d_weight) = fused_gradients(hidden.requires_grad_(), weight, targets, weighted(3))
    assert d_weight.isnan().any()


def test_a_loss_of_constants_gives_zero_gradients_and_stays_in_the_graph():
    hidden, weight, targets = case(3, 4, 9)

    def nothing(rows, logprobs_C, entropy_C):
        return SimpleNamespace(loss=torch.zeros(()), metrics={})

    output, (d_hidden, d_weight) = fused_gradients(hidden, weight, targets, nothing)
    assert output.loss.requires_grad
    assert not d_hidden.any()
    assert not d_weight.any()


def test_the_gradient_scales_with_what_comes_from_above():
    hidden, weight, targets = case(5, 4, 9)
    _, expected = fused_gradients(hidden, weight, targets, weighted(5))
    output = fused_head(hidden, weight, targets, weighted(5))
    (3 * output.loss).backward()
    torch.testing.assert_close(hidden.grad, 3 * expected[0])
    torch.testing.assert_close(weight.grad, 3 * expected[1])


def test_a_second_backward_is_refused():
    hidden, weight, targets = case(5, 4, 9)
    output = fused_head(hidden, weight, targets, weighted(5))
    output.loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="call fused_head again"):
        output.loss.backward()


@pytest.mark.parametrize("frozen", [0, 1])
def test_what_is_frozen_gets_no_gradient(frozen):
    tensors = list(case(5, 4, 9))
    _, expected = fused_gradients(*tensors, weighted(5))
    tensors[frozen] = tensors[frozen].detach()
    output = fused_head(*tensors, weighted(5))
    output.loss.backward()
    assert tensors[frozen].grad is None
    torch.testing.assert_close(tensors[1 - frozen].grad, expected[1 - frozen])


def test_a_frozen_weight_costs_no_gemm(monkeypatch):
    hidden, weight, targets = case(5, 4, 9)
    multiplied = []
    addmm_ = torch.Tensor.addmm_
    monkeypatch.setattr(
        torch.Tensor, "addmm_", lambda *a, **k: multiplied.append(1) or addmm_(*a, **k)
    )
    fused_head(hidden, weight.detach(), targets, weighted(5)).loss.backward()
    assert not multiplied
    fused_head(hidden, weight, targets, weighted(5)).loss.backward()
    assert len(multiplied) == 1


def test_large_logits_overflow_nothing():
    hidden, weight, targets = case(6, 4, 9)
    hidden = (hidden.detach() * 1e4).requires_grad_()
    output, gradients = fused_gradients(hidden, weight, targets, weighted(6, along_entropy=0.1))
    expected, _ = reference_gradients(hidden, weight, targets, weighted(6, along_entropy=0.1))
    torch.testing.assert_close(output.logprobs_T.double(), expected[1], rtol=1e-4, atol=1e-1)
    assert (output.entropy_T > -1e-5).all()
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_bfloat16_is_as_good_as_its_logits():
    hidden, weight, targets = case(65, 32, 101, dtype=torch.bfloat16)
    output, gradients = fused_gradients(hidden, weight, targets, weighted(65), chunk=16)
    expected, expected_gradients = reference_gradients(hidden, weight, targets, weighted(65))
    assert output.logprobs_T.dtype == torch.float32
    assert (output.logprobs_T - expected[1]).abs().mean() < 0.05
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        assert ours.dtype == torch.bfloat16
        assert (ours.double() - theirs).norm() < 0.02 * theirs.norm()


@pytest.mark.parametrize("chunk", [2, 100])
def test_forward_only_gives_the_same_numbers(chunk):
    hidden, weight, targets = case(7, 4, 9)
    logprobs_T, entropy_T = logprobs(hidden, weight, targets, temperature=0.7, chunk=chunk)
    expected = reference_statistics(hidden, weight, targets, temperature=0.7)
    assert not logprobs_T.requires_grad
    torch.testing.assert_close(logprobs_T.double(), expected[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(entropy_T.double(), expected[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("shapes", "settings", "complaint"),
    [
        (((3, 4), (9, 5), (3,)), {}, "do not fit"),
        (((3, 4), (9, 4), (2,)), {}, "do not fit"),
        (((3, 4), (9, 4), (3,)), {"temperature": 0.0}, "greedy"),
        (((3, 4), (9, 4), (3,)), {"chunk": 0}, "positive"),
    ],
)
def test_what_cannot_work_is_refused(shapes, settings, complaint):
    hidden, weight, targets = (torch.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match=complaint):
        logprobs(hidden, weight, targets.long(), **settings)


@pytest.mark.parametrize("chunk", [3, 64])
def test_each_row_may_have_a_temperature_of_its_own(chunk):
    hidden, weight, targets = case(10, 6, 17, dtype=torch.float64)
    loss = weighted(10, along_entropy=0.5)
    temperature_T = torch.linspace(0.5, 1.5, 10, dtype=torch.float64)
    output, gradients = fused_gradients(
        hidden, weight, targets, loss, temperature=temperature_T, chunk=chunk
    )
    expected, expected_gradients = reference_gradients(
        hidden, weight, targets, loss, temperature=temperature_T
    )
    torch.testing.assert_close(output.logprobs_T, expected[1])
    torch.testing.assert_close(gradients, expected_gradients)


def test_temperatures_that_are_not_one_for_each_row_are_refused():
    hidden, weight, targets = case(4, 3, 5)
    with pytest.raises(ValueError, match="do not fit"):
        fused_head(hidden, weight, targets, weighted(4), temperature=torch.ones(3))
