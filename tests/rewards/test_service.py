import asyncio
from collections import Counter

import pytest

from rlvr.metrics import METRICS, describe
from rlvr.remote import WorkerDied
from rlvr.rewards.serving.service import RewardService
from rlvr.rewards.serving.worker import RewardWorker
from rlvr.rewards.serving.workload import Workload
from rlvr.types import Outcome, RolloutGroup, Verdict
from tests.conftest import problem, rollout


class FakeWorker:
    """Says of each text what the text says; may die, and waits to be let go where told to."""

    def __init__(self, name="reward-0", *, dead=False, gate=None):
        self.name, self.dead, self.gate = name, dead, gate
        self.calls = []

    async def call(self, method, /, *args, phase, **kwargs):
        assert phase == "grade"
        if method != "take_workload":
            self.calls.append((method, args))
        if self.gate:
            await self.gate.wait()
        if self.dead:
            raise WorkerDied(f"{self.name} is gone")
        if method == "grade":
            return [verdict(text) for text in args[1]]
        return Workload(outcomes=Counter(correct=3), killed=1, capacity_seconds=1.0)


def verdict(text):
    outcome = Outcome(text)
    reward = float(outcome is Outcome.CORRECT) if outcome.is_graded else None
    return Verdict(outcome=outcome, reward=reward)


def group(*texts, id="p/0"):
    return RolloutGroup(problem=problem(id), rollouts_G=tuple(rollout(text) for text in texts))


def test_each_rollout_keeps_its_own_verdict():
    graded = asyncio.run(RewardService([FakeWorker()]).grade(group("correct", "wrong", "correct")))
    assert graded.rewards_G == (1.0, 0.0, 1.0)
    assert [r.text for r in graded.rollouts_G] == [v.outcome for v in graded.verdicts_G]
    assert graded.ungraded == ()


def test_what_was_not_graded_is_kept_aside_and_never_trains():
    texts = ("correct", "timeout", "wrong", "error", "abstain", "gold_unparsed", "no_answer")
    graded = asyncio.run(RewardService([FakeWorker()]).grade(group(*texts)))
    assert [r.text for r in graded.rollouts_G] == ["correct", "wrong", "no_answer"]
    assert graded.rewards_G == (1.0, 0.0, 0.0)
    assert [v.outcome for v in graded.ungraded] == ["timeout", "error", "abstain", "gold_unparsed"]


def test_a_group_goes_to_the_worker_with_the_least_to_do():
    async def run():
        gate = asyncio.Event()
        workers = [FakeWorker("reward-0", gate=gate), FakeWorker("reward-1", gate=gate)]
        service = RewardService(workers)
        big = asyncio.create_task(service.grade(group(*["wrong"] * 5)))
        await asyncio.sleep(0)
        small = [asyncio.create_task(service.grade(group("wrong", "wrong"))) for _ in range(2)]
        await asyncio.sleep(0)
        assert [len(worker.calls) for worker in workers] == [1, 2]
        gate.set()
        await asyncio.gather(big, *small)

    asyncio.run(run())


def test_a_group_whose_worker_died_is_graded_by_another():
    workers = [FakeWorker("reward-0", dead=True), FakeWorker("reward-1")]
    service = RewardService(workers)
    for _ in range(2):
        assert asyncio.run(service.grade(group("correct"))).rewards_G == (1.0,)
    assert len(workers[0].calls) == 1


def test_the_death_of_the_last_worker_ends_grading_by_name():
    service = RewardService([FakeWorker(dead=True)])
    for _ in range(2):
        with pytest.raises(WorkerDied, match="reward-0"):
            asyncio.run(service.grade(group("correct")))


async def settle():
    for _ in range(10):
        await asyncio.sleep(0)


def test_what_comes_beyond_the_bound_waits_outside_and_is_graded_all_the_same():
    async def run():
        gate = asyncio.Event()
        worker = FakeWorker(gate=gate)
        service = RewardService([worker], max_waiting=4)
        tasks = [asyncio.create_task(service.grade(group("wrong", "wrong"))) for _ in range(5)]
        await settle()
        assert len(worker.calls) == 2
        gate.set()
        await asyncio.gather(*tasks)
        assert len(worker.calls) == 5

    asyncio.run(run())


def successor_of(worker, made, *, fails=False):
    async def respawn(dead):
        assert dead in (worker, *made)
        await asyncio.sleep(0)
        if fails:
            raise RuntimeError("no room")
        made.append(FakeWorker(f"reward-0.{len(made) + 1}"))
        return made[-1]

    return respawn


def test_a_worker_that_died_is_replaced_and_grading_goes_on():
    async def run():
        dead, made = FakeWorker(dead=True), []
        service = RewardService([dead], respawn=successor_of(dead, made))
        groups = await asyncio.gather(*(service.grade(group("correct")) for _ in range(5)))
        assert [g.rewards_G for g in groups] == [(1.0,)] * 5
        assert [worker.name for worker in made] == ["reward-0.1"]

    asyncio.run(run())


def test_others_grade_while_a_worker_is_being_replaced():
    async def run():
        dead, other, never = FakeWorker(dead=True), FakeWorker("reward-1"), asyncio.Event()

        async def respawn(worker):
            await asyncio.wait_for(never.wait(), 10)

        service = RewardService([dead, other], respawn=respawn)
        assert (await service.grade(group("correct"))).rewards_G == (1.0,)
        assert len(other.calls) == 1
        assert (await service.metrics())["reward/workers"] == 1

    asyncio.run(run())


def test_a_worker_that_keeps_dying_is_replaced_three_times_and_no_more():
    async def run():
        made = []

        async def respawn(dead):
            made.append(FakeWorker(f"reward-0.{len(made) + 1}", dead=True))
            return made[-1]

        service = RewardService([FakeWorker(dead=True)], respawn=respawn)
        with pytest.raises(WorkerDied, match=r"all reward workers are gone \(reward-0\.3\)"):
            await service.grade(group("correct"))
        assert len(made) == 3

    asyncio.run(run())


def test_a_worker_that_can_not_be_replaced_ends_grading_with_its_death(caplog):
    dead = FakeWorker(dead=True)
    service = RewardService([dead], respawn=successor_of(dead, [], fails=True))
    with pytest.raises(WorkerDied, match="reward-0 is gone"):
        asyncio.run(service.grade(group("correct")))
    assert "cannot be replaced: no room" in caplog.text


def test_numbers_of_all_living_workers_are_told():
    async def run():
        workers = [FakeWorker("reward-0"), FakeWorker("reward-1", dead=True)]
        told = await RewardService(workers).metrics()
        assert (told["reward/workers"], told["reward/killed"]) == (2, 1)
        assert describe("reward/waiting") and set(told) <= set(METRICS)

    asyncio.run(run())


def test_a_worker_that_returns_too_few_verdicts_is_an_error():
    class Short(FakeWorker):
        async def call(self, method, /, *args, phase, **kwargs):
            return []

    with pytest.raises(RuntimeError, match="0 verdicts for 2 rollouts"):
        asyncio.run(RewardService([Short()]).grade(group("correct", "wrong")))


def test_no_workers_are_refused():
    with pytest.raises(ValueError, match="at least one worker"):
        RewardService([])


@pytest.mark.slow
def test_a_real_worker_grades_a_group_from_end_to_end():
    class Local:
        """A worker in this process."""

        name = "reward-0"

        def __init__(self, worker):
            self.worker = worker

        async def call(self, method, /, *args, phase, **kwargs):
            return await getattr(self.worker, method)(*args, **kwargs)

    async def run():
        worker = RewardWorker({"_target_": "rlvr.rewards.math.Math"}, processes=1)
        try:
            await worker.start([problem()])
            service = RewardService([Local(worker)])
            return await service.grade(group("\\boxed{4}", "\\boxed{5}", "four"))
        finally:
            worker.close()

    graded = asyncio.run(asyncio.wait_for(run(), 60))
    assert graded.rewards_G == (1.0, 0.0, 0.0)
    assert graded.pass_rate == pytest.approx(1 / 3)
