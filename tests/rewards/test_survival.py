"""What graders die of: after each of these the next right answer earns its reward."""

import asyncio
from pathlib import Path

import pytest

from rlvr.rewards.serving.worker import RewardWorker
from rlvr.types import Outcome
from tests.conftest import problem

pytestmark = pytest.mark.slow

HOSTILE = f"{Path(__file__).parent / 'hostile.py'}:score"
MATH = {"_target_": "rlvr.rewards.math.Math"}
FAILURES = (Outcome.TIMEOUT, Outcome.ERROR)

ANSWERS = {
    "an exponent bomb": "\\boxed{9^{9^{9^{9}}}}",
    "a factorial bomb": "\\boxed{(((9!)!)!)!}",
    "a power of a sum": "\\boxed{(x+y+z)^{10000000}}",
    "a megabyte of digits": "\\boxed{" + "9" * 2**20 + "}",
    "a megabyte of words": "\\boxed{" + "word " * 200_000 + "}",
    "nested braces": "\\boxed{" + "{" * 10_000 + "4" + "}" * 10_000 + "}",
    "nested fractions": "\\boxed{" + "\\frac{1}{" * 10_000 + "4" + "}" * 10_000 + "}",
    "nested boxes": "\\boxed{" * 10_000 + "4" + "}" * 10_000,
    "open boxes": "\\boxed{" * 100_000,
    "many boxes": "\\boxed{4}" * 100_000 + "\\boxed{5}",
    "half a character": "\\boxed{\udc80\ud800}",
    "null bytes": "\\boxed{\x00}\x00",
    "a call": "\\boxed{__import__('os')._exit(3)}",
    "an endless list": "\\boxed{" + "1," * 200_000 + "}",
}

HOSTILITIES = {
    "an infinite loop": ("loop", FAILURES[:1]),
    "a loop in C": ("stuck in C", FAILURES[:1]),
    "a memory bomb": ("memory", FAILURES),
    "a segfault": ("segfault", FAILURES[1:]),
    "an exit": ("exit", FAILURES[1:]),
    "a daemon": ("daemon", FAILURES[:1]),
    "processes that multiply": ("multiply", FAILURES[:1]),
    "an exception": ("raise", FAILURES[1:]),
}


class Running:
    """A worker on an event loop of its own, for many tests."""

    def __init__(self, spec, **settings):
        self.runner = asyncio.Runner()
        self.worker = RewardWorker(spec, processes=1, cache=0, **settings)
        self.wait(self.worker.start([problem()]))

    def wait(self, awaitable):
        async def bounded():
            return await asyncio.wait_for(awaitable, 60)

        return self.runner.run(bounded())

    def grade(self, *texts, **changes):
        return self.wait(self.worker.grade(problem(**changes), texts))

    def close(self):
        self.worker.close()
        self.runner.close()


@pytest.fixture(scope="module")
def math():
    running = Running(MATH, seconds=10)
    yield running
    running.close()


@pytest.fixture(scope="module")
def hostile():
    running = Running(HOSTILE, seconds=1, memory_gb=0.5)
    yield running
    running.close()


@pytest.mark.parametrize("what", ANSWERS)
def test_no_answer_harms_the_next(math, what):
    bad, good = math.grade(ANSWERS[what], "so \\boxed{4}")
    assert what == "nested boxes" or bad.outcome is not Outcome.CORRECT
    assert (bad.reward is None) is (not bad.outcome.is_graded)
    assert (good.outcome, good.reward) == (Outcome.CORRECT, 1.0)


@pytest.mark.parametrize("what", ANSWERS)
def test_no_reference_harms_the_next(math, what):
    reference = ANSWERS[what].removeprefix("\\boxed{").removesuffix("}")
    (verdict,) = math.grade("so \\boxed{5}", answer=reference)
    assert verdict.outcome is not Outcome.CORRECT
    assert math.grade("so \\boxed{4}")[0].reward == 1.0


@pytest.mark.parametrize("what", HOSTILITIES)
def test_nothing_that_a_reward_does_harms_the_next(hostile, what, tmp_path):
    text, outcomes = HOSTILITIES[what]
    bad, good = hostile.grade(text, "fine", answer=str(tmp_path / "note"))
    assert bad.outcome in outcomes
    assert bad.reward is None
    assert good.reward == 1.0


def test_all_of_them_at_once_cost_a_thousand_right_answers_nothing(tmp_path):
    async def run():
        worker = RewardWorker(HOSTILE, processes=4, seconds=1, memory_gb=0.5)
        try:
            await worker.start([problem()])
            bad = [
                asyncio.create_task(worker.grade(problem(answer=str(tmp_path / text)), [text]))
                for text, _ in HOSTILITIES.values()
            ]
            right = (worker.grade(problem(), ["fine"] * 8) for _ in range(125))
            groups = await asyncio.gather(*right)
            assert [v.reward for group in groups for v in group] == [1.0] * 1000
            for (verdict,) in await asyncio.gather(*bad):
                assert verdict.outcome in FAILURES and verdict.reward is None
        finally:
            worker.close()

    asyncio.run(asyncio.wait_for(run(), 120))
