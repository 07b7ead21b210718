import asyncio
from pathlib import Path

import pytest

from rlvr.rewards.serving.jail import JailError
from rlvr.rewards.serving.self_test import SelfTestError
from rlvr.rewards.serving.worker import RewardWorker
from rlvr.types import Outcome
from tests.conftest import problem

HOSTILE = f"{Path(__file__).parent / 'hostile.py'}:score"
MATH = {"_target_": "rlvr.rewards.math.Math"}


async def nothing(worker, about):
    pass


def with_worker(use, spec=HOSTILE, problems=(), **settings):
    async def run():
        worker = RewardWorker(spec, **{"processes": 2, "seconds": 0.8} | settings)
        try:
            about = await worker.start(problems)
            return await use(worker, about)
        finally:
            worker.close()

    return asyncio.run(asyncio.wait_for(run(), 60))


@pytest.mark.slow
def test_a_thousand_right_answers_at_once_all_earn_their_reward():
    async def use(worker, about):
        verdicts = await worker.grade(problem(answer="42"), ["so \\boxed{42}"] * 1000)
        assert [v.reward for v in verdicts] == [1.0] * 1000
        assert worker.stats()["outcome/correct"] == 1000

    with_worker(use, MATH, [problem()], seconds=5)


def test_a_thousand_calls_at_once_all_come_back_in_their_own_order():
    async def use(worker, about):
        calls = (worker.grade(problem(), ["fine", "raise"]) for _ in range(500))
        groups = await asyncio.gather(*calls)
        assert all([v.reward for v in group] == [1.0, None] for group in groups)

    with_worker(use, seconds=5)


@pytest.mark.slow
def test_a_thousand_right_answers_earn_their_reward_while_other_texts_hang():
    async def use(worker, about):
        hanging = [asyncio.create_task(worker.grade(problem(), ["loop"])) for _ in range(4)]
        await asyncio.sleep(0.05)
        calls = (worker.grade(problem(), ["fine"] * 10) for _ in range(100))
        groups = await asyncio.gather(*calls)
        assert [v.reward for group in groups for v in group] == [1.0] * 1000
        for (verdict,) in await asyncio.gather(*hanging):
            assert (verdict.outcome, verdict.reward) == (Outcome.TIMEOUT, None)
        assert worker.stats()["killed"] == 4

    with_worker(use, processes=3, seconds=1.0)


GROUPS = "def score(completions, **columns):\n    return [len(completions)] * len(completions)"


def test_a_batched_reward_gets_all_texts_of_a_call_at_once(tmp_path):
    file = tmp_path / "groups.py"
    file.write_text(GROUPS)

    async def use(worker, about):
        assert about.batched
        groups = await asyncio.gather(*(worker.grade(problem(), ["a"] * n) for n in (1, 40, 3)))
        assert [[v.reward for v in group] for group in groups] == [[1.0], [40.0] * 40, [3.0] * 3]

    with_worker(use, f"{file}:score", seconds=5)


ROUTED = """
from rlvr.types import Outcome, Verdict
import time

class Routed:
    routes = {"*": "slow", "math": "quick"}

    def __call__(self, problem, text):
        if problem.source == "code":
            time.sleep(600)
        return Verdict(outcome=Outcome.CORRECT, reward=1.0)
"""


def test_a_quota_keeps_processes_for_other_verifiers(tmp_path, monkeypatch):
    (tmp_path / "routed_by_source.py").write_text(ROUTED)
    monkeypatch.syspath_prepend(tmp_path)

    async def use(worker, about):
        code, math = problem(source="code"), problem(source="math")
        slow = [asyncio.create_task(worker.grade(code, ["x"])) for _ in range(3)]
        await asyncio.sleep(0.05)
        for _ in range(5):
            assert [v.reward for v in await worker.grade(math, ["x"] * 40)] == [1.0] * 40
            assert worker.stats()["busy"] == 0.5
        assert not any(task.done() for task in slow)
        for task in slow:
            task.cancel()

    target = {"_target_": "routed_by_source.Routed"}
    with_worker(use, target, processes=2, seconds=30, quotas={"slow": 1})
    with pytest.raises(ValueError, match=r"quotas\.solw.*it has quick, slow"):
        with_worker(nothing, target, quotas={"solw": 1})


@pytest.mark.slow
def test_what_was_done_is_told_once(tmp_path):
    async def use(worker, about):
        await worker.grade(problem(), ["fine", "loop", "exit"])
        load = worker.take_workload()
        assert load.outcomes == {"correct": 1, "timeout": 1, "error": 1}
        assert (load.killed, load.died) == (1, 1)
        assert load.capacity_seconds >= load.working_seconds >= 0.8
        again = worker.take_workload()
        assert (again.outcomes.total(), again.killed, again.died) == (0, 0, 0)
        assert worker.stats()["graded"] == 3

    with_worker(use)


@pytest.mark.slow
def test_a_slow_text_holds_up_no_other_process():
    async def use(worker, about):
        slow = asyncio.create_task(worker.grade(problem(), ["loop"]))
        await asyncio.sleep(0.05)
        for _ in range(5):
            assert [v.reward for v in await worker.grade(problem(), ["fine"] * 3)] == [1.0] * 3
        assert not slow.done()
        assert worker.stats()["busy"] == 0.5
        assert (await slow)[0].outcome is Outcome.TIMEOUT
        assert worker.stats()["killed"] == 1

    with_worker(use, seconds=2.0)


@pytest.mark.slow
def test_a_cancelled_call_gives_its_process_back():
    async def use(worker, about):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(worker.grade(problem(), ["loop"]), 0.1)
        verdicts = await worker.grade(problem(), ["fine"] * 4)
        assert [v.reward for v in verdicts] == [1.0] * 4

    with_worker(use, processes=1)


@pytest.mark.slow
def test_failures_are_counted_and_never_rewarded():
    async def use(worker, about):
        verdicts = await worker.grade(problem(), ["fine", "loop", "raise", "exit"])
        assert [v.reward for v in verdicts] == [1.0, None, None, None]
        stats = worker.stats()
        assert stats["graded"] == 4
        assert (stats["outcome/timeout"], stats["outcome/error"]) == (1, 2)
        assert (stats["killed"], stats["died"]) == (1, 1)
        assert stats["latency_seconds/p99"] >= 0.8 > stats["latency_seconds/p50"] > 0
        assert stats["busy"] == 0

    with_worker(use)


def test_no_texts_make_no_verdicts():
    async def use(worker, about):
        assert await worker.grade(problem(), []) == []

    with_worker(use)


def test_start_says_what_was_loaded():
    async def use(worker, about):
        assert (about.name, about.style, about.maximum) == ("hostile.py:score", "native", None)

    with_worker(use)


def test_a_reward_that_cannot_be_loaded_ends_the_start():
    with pytest.raises(JailError, match="no file"):
        with_worker(nothing, "nowhere.py:score")


REFUSES = "class R:\n    maximum = 1.0\n    def example(self, problem): return problem.answer\n"
VERDICT = (
    "    def __call__(self, problem, text):\n"
    "        from rlvr.types import Outcome, Verdict\n"
    "        return Verdict(outcome=Outcome({outcome!r}), reward={reward})\n"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("outcome", "reward", "complaint"),
    [
        ("wrong", 0.0, "the reference itself, given as '4', is not accepted"),
        ("correct", 0.5, "the reference itself, given as '4', is not accepted"),
        ("gold_unparsed", None, "the reference itself"),
        ("abstain", None, "the reference itself"),
        ("correct", 1.0, "a wrong answer is accepted"),
        ("error", None, "the reward failed"),
    ],
)
def test_the_self_test_refuses_a_plug_in_that_judges_wrongly(
    tmp_path, monkeypatch, outcome, reward, complaint
):
    (tmp_path / "judges.py").write_text(REFUSES + VERDICT.format(outcome=outcome, reward=reward))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SelfTestError, match=rf"problem 'p/0' \(reference '4'\): {complaint}"):
        with_worker(nothing, {"_target_": "judges.R"}, [problem()])


CARRIES = """
import json, os
from rlvr.types import Outcome, Verdict

class Carried:
    maximum = 1.0

    def example(self, problem):
        if problem.answer == "dies":
            os._exit(3)
        return problem.extra.get("solution") or json.loads(problem.answer)["solution"]

    def __call__(self, problem, text):
        right = text == "do this"
        outcome = Outcome.CORRECT if right else Outcome.WRONG
        return Verdict(outcome=outcome, reward=float(right))
"""


def test_the_self_test_takes_no_right_answer_for_a_wrong_one(tmp_path):
    file = tmp_path / "carried.py"
    file.write_text(CARRIES)
    spec = {"_target_": f"{file}:Carried"}
    carried = problem(extra={"solution": "do this"})
    with_worker(nothing, spec, [carried, problem(answer='{"solution": "do this"}')])
    for answer, why in (("4", r"TypeError.*carried\.py:11"), ("dies", "process died")):
        with pytest.raises(JailError, match=rf"right answer to problem 'p/0', .* failed: .*{why}"):
            with_worker(nothing, spec, [problem(answer=answer)])


@pytest.mark.slow
def test_the_self_test_names_a_reference_that_cannot_be_read():
    broken = problem(id="set/7", answer="\\frac{}{}")
    with pytest.raises(SelfTestError, match=r"'set/7'.*gold_unparsed.*Correct or leave"):
        with_worker(nothing, MATH, [problem(), broken], seconds=5)


def test_the_self_test_asks_of_a_users_function_only_that_it_does_not_fail(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def score(problem, text):\n    return -float(len(text))")

    async def use(worker, about):
        assert (await worker.grade(problem(), ["abc"]))[0].reward == -3

    with_worker(use, f"{file}:score", [problem()])
    file.write_text("def score(problem, text):\n    return 1 / len(text)")
    with pytest.raises(SelfTestError, match=r"the reward failed.*ZeroDivisionError"):
        with_worker(nothing, f"{file}:score", [problem()])


@pytest.mark.parametrize("settings", [{"processes": 0}, {"seconds": 0}])
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(ValueError, match="at least one process"):
        RewardWorker(MATH, **settings)
