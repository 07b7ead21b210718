"""The pool: where a problem goes, with which seeds, and what a bad load does."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlvr.rollout.engine import Sampling
from rlvr.rollout.pool import RolloutPool, sample_seed
from rlvr.rollout.scripted import ScriptedEngine
from rlvr.rollout.temperature import EntropyTarget
from rlvr.types import Finish, WeightVersion
from rlvr.weights.base import WeightManifest, WeightProofError
from tests.conftest import problem


class Near:
    """An engine in this process behind the contract of a remote one."""

    def __init__(self, name, engine):
        self.name = name
        self.engine = engine
        self.phases = []

    async def call(self, method, /, *args, phase, **kwargs):
        self.phases.append(phase)
        return await getattr(self.engine, method)(*args, **kwargs)


def answer(prompt, seed):
    return f"answer {seed % 3}"


def manifest(version=1):
    return WeightManifest(
        version=WeightVersion(version), channel="none", address={}, tensors=(), probe=None
    )


def pool(*engines, seed=0):
    workers = [Near(f"rollout-{i}", engine) for i, engine in enumerate(engines)]
    return RolloutPool(
        workers, sampling=Sampling(max_tokens=20), seed=seed, render=lambda p: (1, len(p.id))
    )


def test_all_rollouts_of_a_problem_come_from_one_engine_in_the_order_of_their_seeds():
    engines = ScriptedEngine(answer), ScriptedEngine(answer)
    group = asyncio.run(pool(*engines).generate(problem("p/7"), n=5, epoch_key="0"))
    ((prompt_ids, seeds),) = engines[0].calls
    assert prompt_ids == (1, 3)
    assert seeds == tuple(sample_seed(0, "p/7", "0", sample) for sample in range(5))
    assert [r.text for r in group.rollouts_G] == [answer(prompt_ids, seed) for seed in seeds]
    assert not engines[1].calls


def test_another_run_on_the_same_engines_has_its_own_seeds_and_sampling():
    engine = ScriptedEngine(answer)
    other = pool(engine).for_run(sampling=Sampling(max_tokens=5, temperature=0.6), seed=3)
    group = asyncio.run(other.generate(problem("p/7"), n=2, epoch_key="0"))
    ((prompt_ids, seeds),) = engine.calls
    assert prompt_ids == (1, 3)
    assert seeds == tuple(sample_seed(3, "p/7", "0", sample) for sample in range(2))
    assert {rollout.temperature for rollout in group.rollouts_G} == {0.6}


def test_a_problem_goes_to_the_engine_with_the_fewest_rollouts_in_flight():
    slow, fast = ScriptedEngine(answer, seconds=0.05), ScriptedEngine(answer)

    async def run():
        engines = pool(slow, fast)
        long = asyncio.create_task(engines.generate(problem("slow"), n=8, epoch_key="0"))
        await asyncio.sleep(0)
        for index in range(3):
            await engines.generate(problem(f"p/{index}"), n=2, epoch_key="0")
        await long
        await engines.generate(problem("later"), n=2, epoch_key="0")

    asyncio.run(run())
    assert [len(seeds) for _, seeds in slow.calls] == [8, 2]
    assert [len(seeds) for _, seeds in fast.calls] == [2, 2, 2]


def test_a_failed_call_does_not_count_as_in_flight():
    class Failing(ScriptedEngine):
        async def generate(self, prompt_ids, *, sampling, seeds):
            raise RuntimeError("no")

    failing, good = Failing(answer), ScriptedEngine(answer)

    async def run():
        engines = pool(failing, good)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="no"):
                await engines.generate(problem(), n=2, epoch_key="0")

    asyncio.run(run())
    assert not good.calls


def test_a_call_may_bring_its_own_sampling():
    greedy = Sampling(max_tokens=3, temperature=0.0)
    engines = pool(ScriptedEngine(answer))
    group = asyncio.run(engines.generate(problem(), n=1, epoch_key="0", sampling=greedy))
    (rollout,) = group.rollouts_G
    assert rollout.text == "ans"
    assert rollout.finish is Finish.LENGTH


def test_a_call_may_change_the_limit_alone():
    control = EntropyTarget()
    engines = RolloutPool(
        [Near("rollout-0", ScriptedEngine(answer))],
        sampling=Sampling(max_tokens=20, temperature=0.8),
        seed=0,
        render=lambda problem: (1,),
        temperature=control,
    )
    group = asyncio.run(engines.generate(problem(), n=1, epoch_key="0", max_tokens=3))
    control.temperature = 0.9
    later = asyncio.run(engines.generate(problem(), n=1, epoch_key="0", max_tokens=4))
    rollouts = (*group.rollouts_G, *later.rollouts_G)
    assert [(r.text, r.temperature) for r in rollouts] == [("ans", 0.8), ("answ", 0.9)]


def test_a_call_may_go_on_from_a_prefix_of_a_completion():
    engine = ScriptedEngine(answer)
    group = asyncio.run(
        pool(engine).generate(problem("p/7"), n=2, epoch_key="0", prefix_ids=(8, 9))
    )
    assert engine.calls[0][0] == (1, 3, 8, 9)
    assert [rollout.prompt_ids for rollout in group.rollouts_G] == [(1, 3, 8, 9)] * 2


def test_an_engine_that_returns_too_few_is_named():
    class Short(ScriptedEngine):
        async def generate(self, prompt_ids, *, sampling, seeds):
            return await super().generate(prompt_ids, sampling=sampling, seeds=seeds[1:])

    with pytest.raises(RuntimeError, match="rollout-0 returned 3 rollouts of problem p/0"):
        asyncio.run(pool(Short(answer)).generate(problem(), n=4, epoch_key="0"))


def test_weights_are_loaded_by_every_engine_and_the_slowest_is_measured():
    class Slow(ScriptedEngine):
        async def load_weights(self, manifest):
            return await super().load_weights(manifest) | {"seconds": 9.0}

    engines = Slow(answer), ScriptedEngine(answer)
    measured = asyncio.run(pool(*engines).load_weights(manifest(3)))
    assert [engine.version for engine in engines] == [3, 3]
    assert measured["version"] == 3
    assert measured["seconds"] == 9


def test_a_load_that_fails_names_the_engine_and_waits_for_the_others():
    class Refusing(ScriptedEngine):
        async def load_weights(self, manifest):
            raise WeightProofError("tensor w")

    class Slow(ScriptedEngine):
        async def load_weights(self, manifest):
            await asyncio.sleep(0.01)
            return await super().load_weights(manifest)

    slow = Slow(answer)
    with pytest.raises(WeightProofError, match="rollout-0: tensor w"):
        asyncio.run(pool(Refusing(answer), slow).load_weights(manifest(3)))
    assert slow.version == 3


def test_an_engine_that_confirms_another_version_is_refused():
    class Stale(ScriptedEngine):
        async def load_weights(self, manifest):
            return {"version": 2.0}

    with pytest.raises(WeightProofError, match="rollout-0 confirmed version 2 and was sent 3"):
        asyncio.run(pool(Stale(answer)).load_weights(manifest(3)))


def test_a_pool_needs_a_worker():
    with pytest.raises(ValueError, match=r"rollout\.workers"):
        pool()


def test_seeds_are_the_same_on_every_machine():
    assert sample_seed(0, "gsm8k/train/1", "0", 0) == 4220820247204148289


@given(st.tuples(st.integers(), st.text(), st.text(), st.integers(0, 64)))
def test_a_seed_is_63_bits_of_its_arguments(arguments):
    seed = sample_seed(*arguments)
    assert 0 <= seed < 2**63
    run_seed, problem_id, epoch_key, sample = arguments
    assert seed != sample_seed(run_seed, problem_id, epoch_key, sample + 1)
    assert seed != sample_seed(run_seed + 1, problem_id, epoch_key, sample)
    assert seed != sample_seed(run_seed, problem_id + "x", epoch_key, sample)
