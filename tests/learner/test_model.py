"""How a policy is loaded, whatever its attention runs on."""

from __future__ import annotations

import pytest
import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from rlvr.learner.model import load_policy
from rlvr.learner.value_model import load_value_model

ELSEWHERE = "on_an_accelerator_alone"


def refuse_the_cpu(module, query, *arguments, **options):
    if query.device.type == "cpu":
        raise RuntimeError("no kernel for the CPU")
    return sdpa_attention_forward(module, query, *arguments, **options)


@pytest.fixture(autouse=True, scope="module")
def attention():
    AttentionInterface.register(ELSEWHERE, refuse_the_cpu)
    yield
    AttentionInterface._global_mapping.pop(ELSEWHERE)


def told(attention: str) -> dict:
    return {
        "dtype": torch.float32,
        "attention": attention,
        "chunk": 8,
        "activation_checkpointing": False,
    }


def test_a_policy_is_checked_where_its_attention_does_not_run_and_keeps_it(tied):
    policy = load_policy(tied, **told(ELSEWHERE))
    ids_S = torch.arange(4)
    inputs = (ids_S[None], None, torch.arange(3), ids_S[1:])
    with pytest.raises(RuntimeError, match="no kernel for the CPU"):
        policy(*inputs, None)
    elsewhere = [tensor if tensor is None else tensor.to("meta") for tensor in inputs]
    assert policy.to("meta")(*elsewhere, None)[1].shape == (3,)


def test_a_value_model_keeps_its_attention_too(tied):
    settings = told(ELSEWHERE)
    del settings["chunk"]
    trunk = load_value_model(tied, **settings).trunk
    with pytest.raises(RuntimeError, match="no kernel for the CPU"):
        trunk(input_ids=torch.arange(4)[None])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_an_attention_is_the_one_that_was_asked_for(tied, attention):
    policy = load_policy(tied, **told(attention))
    assert policy.language_model.config._attn_implementation == attention
