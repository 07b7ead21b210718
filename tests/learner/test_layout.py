"""Packed rows: where they are taken by themselves, and that they keep sequences apart."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    BloomForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from rlvr.learner.losses.clipped import Clipped
from rlvr.learner.model import PolicyModel, check_packing
from rlvr.learner.settings import LearnerSettings

CPU = torch.device("cpu")


def settings(**changes) -> LearnerSettings:
    return LearnerSettings(loss=Clipped(), max_tokens=16, zero_stage=2, **changes)


@pytest.mark.parametrize(
    ("attention", "layout"),
    [
        ("sdpa", "padded"),
        ("eager", "padded"),
        ("flash_attention_2", "packed"),
        ("flash_attention_3", "packed"),
    ],
)
def test_auto_packs_where_attention_knows_of_sequences(attention, layout):
    assert settings(attention=attention, dtype="bfloat16").layout == layout
    assert settings(attention=attention, dtype="bfloat16", layout="auto").layout == layout


@pytest.mark.parametrize("layout", ["padded", "packed"])
@pytest.mark.parametrize("attention", ["sdpa", "flash_attention_2"])
def test_a_layout_that_is_asked_for_is_taken(attention, layout):
    asked = settings(attention=attention, dtype="bfloat16", layout=layout)
    assert asked.layout == layout
    assert replace(asked, seed=3).layout == layout


def test_a_layout_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match=r"learner\.layout='rows': take one of"):
        settings(layout="rows")


@pytest.mark.parametrize("attention", ["flash_attention_2", "flash_attention_3"])
def test_an_attention_in_half_precision_is_refused_for_fp32(attention):
    complaint = rf"learner\.attention={attention} with dtype=float32: .* take dtype=bfloat16"
    with pytest.raises(ValueError, match=complaint):
        settings(attention=attention)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_sequences_do_not_see_each_other(tied, attention):
    model = AutoModelForCausalLM.from_pretrained(tied, attn_implementation=attention).eval()
    policy = PolicyModel(model)
    lengths = [5, 1, 9]
    ids = torch.randint(3, 64, (sum(lengths),), generator=torch.Generator().manual_seed(0))
    positions = torch.cat([torch.arange(length) for length in lengths])
    every = torch.arange(len(ids))
    with torch.no_grad():
        packed = policy(ids[None], positions[None], every, ids, None)[1].split(lengths)
        for row, logprobs in zip(ids.split(lengths), packed, strict=True):
            alone = policy(row[None], None, torch.arange(len(row)), row, None)[1]
            torch.testing.assert_close(logprobs, alone, rtol=0, atol=1e-5)
    check_packing(policy, policy, device=CPU)


def bloom() -> BloomForCausalLM:
    """Its positions come from the attention mask."""
    return BloomForCausalLM(BloomConfig(vocab_size=64, hidden_size=32, n_layer=2, n_head=4))


def opt() -> OPTForCausalLM:
    """It has positions, and takes its attention mask without them."""
    shape = {"hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 48, "num_hidden_layers": 2}
    return OPTForCausalLM(OPTConfig(vocab_size=64, num_attention_heads=4, **shape))


@pytest.mark.parametrize("make", [bloom, opt])
def test_a_model_whose_packed_sequences_see_each_other_is_refused(make):
    torch.manual_seed(0)
    policy = PolicyModel(make().eval())
    for parameter in policy.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    with pytest.raises(ValueError, match=r"layout=packed: .* nats .*take layout=padded"):
        check_packing(policy, policy, device=CPU)
