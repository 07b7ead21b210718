"""The scripted engine keeps the engine's contract."""

import asyncio

import pytest

from rlvr.rollout.engine import Sampling
from rlvr.rollout.scripted import ScriptedEngine
from rlvr.types import Finish, WeightVersion
from rlvr.weights.base import WeightManifest

SAMPLING = Sampling(max_tokens=4)


def generate(engine, prompt_ids=(1,), seeds=(0,)):
    return asyncio.run(engine.generate(prompt_ids, sampling=SAMPLING, seeds=seeds))


def test_a_mapping_gives_each_prompt_its_answers_and_the_seed_picks_one():
    engine = ScriptedEngine({(1,): ["yes", "no"], (2,): ["maybe"]})
    assert [r.text for r in generate(engine, seeds=(0, 1, 2))] == ["yes", "no", "yes"]
    with pytest.raises(KeyError, match=r"\(3,\)"):
        generate(engine, prompt_ids=(3,))


def test_what_exceeds_max_tokens_is_cut_and_finishes_with_length():
    fits, cut = generate(ScriptedEngine({(1,): ["four", "fives"]}), seeds=(0, 1))
    assert (fits.text, fits.finish) == ("four", Finish.STOP)
    assert (cut.text, cut.finish) == ("five", Finish.LENGTH)
    assert cut.completion_ids_T == tuple(map(ord, "five"))


def test_tokens_carry_the_version_that_was_loaded_last():
    engine = ScriptedEngine({(1,): ["ab"]})
    assert generate(engine)[0].versions_T == (0, 0)
    manifest = WeightManifest(
        version=WeightVersion(4), channel="", address={}, tensors=(), probe=None
    )
    assert asyncio.run(engine.load_weights(manifest))["version"] == 4
    assert generate(engine)[0].versions_T == (4, 4)
