"""The value model by itself, in this process."""

from __future__ import annotations

import pytest
import torch

from rlvr.learner.value_model import ValueModel, load_value_model
from tests.learner.hosted import LENGTHS, microbatch
from tests.learner.ranks import tiny_model


def load(model: str, *, dtype=torch.float32, activation_checkpointing=False) -> ValueModel:
    return load_value_model(
        model,
        dtype=dtype,
        attention="sdpa",
        activation_checkpointing=activation_checkpointing,
    )


def taught(model: ValueModel) -> ValueModel:
    """With a head that tells hidden states apart."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        model.head.weight.copy_(torch.randn(model.head.weight.shape, generator=generator))
        model.head.bias.fill_(0.25)
    return model


def values(model: ValueModel, tensors) -> torch.Tensor:
    return model(tensors["token_ids_RS"], tensors.get("position_ids_RS"), tensors["sources_T"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_start_at_exactly_zero_in_float32(tied, dtype):
    values_T = values(load(tied, dtype=dtype), microbatch(0))
    assert values_T.dtype == torch.float32
    assert values_T.shape == (sum(completion for _, completion in LENGTHS),)
    assert not values_T.any()


def test_a_value_is_the_head_over_the_state_that_predicts_the_token(tied):
    model, tensors = taught(load(tied)), microbatch(0)
    prompt, completion = LENGTHS[2]
    ids = tensors["token_ids_RS"][2:, : prompt + completion]
    hidden_SH = model.trunk(input_ids=ids).last_hidden_state[0]
    states_TH = hidden_SH[prompt - 1 : prompt + completion - 1]
    expected_T = (states_TH * model.head.weight[0]).sum(1) + 0.25
    torch.testing.assert_close(values(model, tensors)[-completion:], expected_T)


def test_a_value_does_not_know_the_token_or_what_follows_it(tied):
    model, tensors = taught(load(tied)), microbatch(0)
    before_T = values(model, tensors)
    prompt, completion = LENGTHS[0]
    changed = tensors["token_ids_RS"].clone()
    changed[0, prompt + 2] += 1
    after_T = values(model, tensors | {"token_ids_RS": changed})
    assert torch.equal(before_T[:3], after_T[:3])
    assert (before_T[3:completion] != after_T[3:completion]).all()


def test_packed_sequences_have_the_values_of_padded_ones(tied):
    model = taught(load(tied))
    padded_T = values(model, microbatch(0))
    packed = microbatch(0, packed=True)
    assert packed["token_ids_RS"].shape[0] == 1
    torch.testing.assert_close(values(model, packed), padded_T, rtol=0, atol=1e-5)


def test_checkpointing_activations_changes_no_gradient(tied):
    gradients = []
    for checkpointing in (False, True):
        model = taught(load(tied, activation_checkpointing=checkpointing))
        assert model.trunk.is_gradient_checkpointing is checkpointing
        values(model, microbatch(0)).square().sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    plain, checkpointed = gradients
    assert any(gradient.abs().max() > 0.1 for gradient in plain.values())
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, msg=name)


def test_no_parameter_of_the_language_models_head_is_kept(untied):
    model = load(untied)
    names = {name for name, _ in model.named_parameters()}
    assert not any("lm_head" in name for name in names)
    assert {"head.weight", "head.bias"} < names


def test_nothing_is_dropped_out(tmp_path_factory):
    model = taught(load(tiny_model(tmp_path_factory.mktemp("dropout"), attention_dropout=0.5)))
    model.train()
    assert torch.equal(values(model, microbatch(0)), values(model, microbatch(0)))
