"""What DeepSpeed keeps in CPU memory changes no number."""

from __future__ import annotations

import numpy as np
import pytest
from transformers import AutoModelForCausalLM

from rlvr.learner.deepspeed_config import deepspeed_config
from rlvr.learner.settings import LearnerSettings, LoraSettings, OptimizerSettings
from tests.learner.bare import bare_learner, plain_update
from tests.learner.hosted import Group, learner_settings

VALID = [("optimizer", 1), ("optimizer", 2), ("optimizer", 3), ("all", 3)]


def settings(*, lr: float = 1.0, grad_clip: float = 0.0, **changes) -> LearnerSettings:
    optimizer = OptimizerSettings(lr=lr, grad_clip=grad_clip)
    return learner_settings(optimizer=optimizer, **changes)


@pytest.mark.parametrize(
    ("offload", "zero_stage", "reason"),
    [
        ("optimizer", 0, "only ZeRO stages 1, 2, 3 keep"),
        ("all", 0, "only ZeRO stages 3 keep"),
        ("all", 2, "only ZeRO stages 3 keep"),
        ("disk", 3, "take one of"),
    ],
)
def test_what_a_stage_cannot_offload_is_refused(offload, zero_stage, reason):
    with pytest.raises(ValueError, match=f"learner.offload='{offload}'.*{reason}"):
        settings(offload=offload, zero_stage=zero_stage)


@pytest.mark.parametrize(
    ("offload", "expected"),
    [
        ("none", set()),
        ("optimizer", {"offload_optimizer"}),
        ("all", {"offload_optimizer", "offload_param"}),
    ],
)
def test_deepspeed_is_told_what_to_offload(offload, expected):
    config = deepspeed_config(settings(offload=offload, zero_stage=3), grad_clip=0.0, parameters=9)
    zero = config["zero_optimization"]
    assert {name for name in zero if name.startswith("offload_")} == expected
    assert all(zero[name]["device"] == "cpu" for name in expected)
    # Else DeepSpeed compiles and takes an Adam of its own in the place of torch's.
    assert config["zero_force_ds_cpu_optimizer"] is False


@pytest.fixture
def bare(ranks, tied):
    """Makes a started learner; the one before it is closed."""
    made: list[Group] = []

    def make(*, world_size: int, descent: bool = True, **changes):
        if made:
            made.pop().close()
        made.append(bare_learner(ranks(world_size), tied, settings(**changes), descent=descent))
        return made[-1]

    yield make
    if made:
        made.pop().close()


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize(("offload", "zero_stage"), VALID)
def test_updates_are_those_of_plain_torch(bare, tied, world_size, offload, zero_stage):
    made = bare(world_size=world_size, offload=offload, zero_stage=zero_stage, lr=0.2)
    expected = AutoModelForCausalLM.from_pretrained(tied)
    for seed in range(2):
        norm = plain_update(expected, seed, lr=0.2)
        assert made.update(seed) == pytest.approx(norm, rel=1e-4)
    ours = made.parameters()
    for name, tensor in expected.named_parameters():
        np.testing.assert_allclose(ours[name], tensor.detach(), rtol=0, atol=2e-6, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize(
    ("offload", "zero_stage", "dtype"),
    [(*pair, "float32") for pair in VALID] + [(*pair, "bfloat16") for pair in VALID if pair[1] > 1],
)
def test_adam_with_clipping_is_the_same_as_without_offload(
    bare, world_size, offload, zero_stage, dtype
):
    changes = {"world_size": world_size, "zero_stage": zero_stage, "dtype": dtype}
    changes |= {"descent": False, "lr": 0.01, "grad_clip": 0.05}
    made = bare(**changes)
    norms = [made.update(seed) for seed in range(3)]
    expected = made.parameters()
    made = bare(**changes, offload=offload)
    assert [made.update(seed) for seed in range(3)] == pytest.approx(norms, rel=1e-5)
    for name, tensor in made.parameters().items():
        np.testing.assert_allclose(tensor, expected[name], rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(("offload", "zero_stage"), VALID)
def test_an_update_that_is_not_finite_is_skipped(bare, tied, offload, zero_stage):
    made = bare(world_size=2, offload=offload, zero_stage=zero_stage)
    assert made.update(0, True) is None
    expected = AutoModelForCausalLM.from_pretrained(tied)
    norm = plain_update(expected, 0, lr=1.0)
    assert made.update(0) == pytest.approx(norm, rel=1e-4)
    ours = made.parameters()
    for name, tensor in expected.named_parameters():
        np.testing.assert_allclose(ours[name], tensor.detach(), rtol=0, atol=2e-6, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(("offload", "zero_stage"), VALID)
def test_a_loaded_learner_goes_on_as_if_nothing_had_been(bare, tmp_path, offload, zero_stage):
    changes = {"world_size": 2, "zero_stage": zero_stage, "offload": offload}
    changes |= {"descent": False, "lr": 0.01}
    made = bare(**changes)
    for seed in range(2):
        made.update(seed)
    state = made.save(str(tmp_path))
    norm, expected = made.update(2), made.parameters()
    made = bare(**changes)
    made.update(7)
    made.load(str(tmp_path), state)
    assert made.update(2) == norm
    for name, tensor in made.parameters().items():
        np.testing.assert_array_equal(tensor, expected[name], err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(("offload", "zero_stage"), VALID)
def test_adapters_train_the_same_beside_offloaded_weights(bare, offload, zero_stage):
    changes = {"world_size": 2, "zero_stage": zero_stage, "lora": LoraSettings(rank=3)}
    made = bare(**changes)
    norms = [made.update(seed) for seed in range(2)]
    expected = made.parameters()
    made = bare(**changes, offload=offload)
    assert [made.update(seed) for seed in range(2)] == pytest.approx(norms, rel=1e-5)
    for name, tensor in made.parameters().items():
        np.testing.assert_allclose(tensor, expected[name], rtol=0, atol=2e-6, err_msg=name)
