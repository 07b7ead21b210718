"""What the parts of a run are told of its settings."""

from __future__ import annotations

import pytest

from rlvr.algorithm import algorithm
from rlvr.assembly import learner_settings
from rlvr.config import ConfigError
from rlvr.recipes import load


@pytest.fixture
def lora_of(tmp_path):
    """The adapters' settings under some words of the command line."""

    def of(*words):
        run = load(["recipe=grpo", "over=tiny", "model=models/none", *words], model=False)
        return learner_settings(run, str(tmp_path), algorithm(run)).lora

    return of


@pytest.mark.parametrize(
    ("word", "targets"),
    [
        ("learner.lora.rank=8", "all-linear"),
        ("learner.lora.targets=[all-linear]", "all-linear"),
        ("learner.lora.targets=[q_proj, v_proj]", ("q_proj", "v_proj")),
        (r"learner.lora.targets='.*layers\.[01]\..*_proj'", r".*layers\.[01]\..*_proj"),
    ],
)
def test_adapters_are_named_by_a_list_or_an_expression(lora_of, word, targets):
    assert lora_of(word).targets == targets


def test_without_settings_there_are_no_adapters(lora_of):
    assert lora_of() is None


@pytest.mark.parametrize("targets", ["3", "[]", "[q_proj, 3]", "'(q_proj'", "{a: 1}"])
def test_what_cannot_name_a_layer_is_refused_before_anything_starts(lora_of, targets):
    with pytest.raises(ConfigError, match=r"learner\.lora\.targets=.*; take all-linear"):
        lora_of(f"learner.lora.targets={targets}")
