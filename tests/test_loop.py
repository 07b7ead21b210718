"""The whole loop in a moment: a bandit whose one weight is its skill."""

import asyncio
import math
import random

import pytest

from rlvr.credit import Credit
from rlvr.difficulty.band import BalancedBand
from rlvr.loop import Loop, Starved
from rlvr.step_report import GraderFailing
from rlvr.types import GradedGroup, RolloutGroup, TrainBatch, WeightVersion
from tests.conftest import problem, rollout, verdict


class Stream:
    """Endless over ``n`` problems, in order."""

    def __init__(self, n: int = 16) -> None:
        self._problems = [problem(f"p/{i}") for i in range(n)]
        self._drawn = 0

    @property
    def epoch(self):
        return (self._drawn - 1) // len(self._problems)

    def all(self):
        return self._problems

    def __iter__(self):
        while True:
            self._drawn += 1
            yield self._problems[(self._drawn - 1) % len(self._problems)]

    def state_dict(self):
        return {"drawn": self._drawn}

    def load_state_dict(self, state):
        self._drawn = state["drawn"]


class Bandit:
    """Engine, grader, learner, weights and sink. Right with probability sigmoid(skill)."""

    def __init__(self) -> None:
        self.skill = -1.0
        self.version = 0
        self.history: list[dict[str, float]] = []
        self.batches: list[TrainBatch] = []
        self.asked: list[tuple[str, str]] = []

    async def generate(self, asked, *, n, epoch_key):
        self.asked.append((asked.id, epoch_key))
        await asyncio.sleep(0)
        rng = random.Random(f"{asked.id}/{epoch_key}/{self.version}")
        right = 1 / (1 + math.exp(-self.skill))
        texts = ["right" if rng.random() < right else "wrong" for _ in range(n)]
        return RolloutGroup(
            problem=asked, rollouts_G=tuple(rollout(t, version=self.version) for t in texts)
        )

    async def grade(self, group):
        return GradedGroup(
            problem=group.problem,
            rollouts_G=group.rollouts_G,
            verdicts_G=tuple(verdict(float(r.text == "right")) for r in group.rollouts_G),
        )

    async def step(self, batch: TrainBatch):
        self.batches.append(batch)
        # d log p / d skill is 1 - p for a right answer and -p for a wrong one
        p = 1 / (1 + math.exp(-self.skill))
        grad = sum(s.advantage * ((s.rollout.text == "right") - p) for s in batch.samples)
        self.skill += 0.5 * grad / len(batch.samples)
        return {"actor/tokens": float(batch.loss_tokens)}

    async def sync(self, version):
        self.version = version
        return {}

    def log(self, step, metrics):
        self.history.append({"step": step, **metrics})

    def close(self):
        pass


def centred(group):
    return [reward - group.mean_reward for reward in group.rewards_G]


def make(bandit, **changes) -> Loop:
    settings = {
        "problems": Stream(),
        "rollouts": bandit,
        "grader": bandit,
        "learner": bandit,
        "weights": bandit,
        "sink": bandit,
        "filter": BalancedBand(),
        "credit": Credit(estimator=centred),
        "steps": 30,
        "problems_per_step": 4,
        "rollouts_per_problem": 8,
        "batch_seconds": 5.0,
    }
    return Loop(**settings | changes)


def run(loop: Loop) -> None:
    async def bounded():
        await asyncio.wait_for(loop.run(), timeout=20)

    asyncio.run(bounded())


def train(**changes) -> Bandit:
    bandit = Bandit()
    run(make(bandit, **changes))
    return bandit


@pytest.mark.parametrize("max_lag", [0, 1, 3])
def test_reward_rises(max_lag):
    bandit = train(max_lag=max_lag)
    assert bandit.skill > 0.5
    rates = [m["difficulty/pass_rate"] for m in bandit.history if "difficulty/pass_rate" in m]
    assert rates[-1] > rates[0]


def test_a_step_trains_exactly_the_groups_asked_for():
    bandit = train()
    assert [step["step"] for step in bandit.history] == list(range(1, 31))
    assert all(step["actor/tokens"] == 4 * 8 * 3 for step in bandit.history)


@pytest.mark.parametrize("max_lag", [0, 1, 3])
def test_no_token_trains_that_is_older_than_the_lag_allows(max_lag):
    bandit = train(max_lag=max_lag)
    for batch in bandit.batches:
        lags = [batch.version - v for s in batch.samples for v in s.rollout.versions_T]
        assert min(lags) >= 0
        assert max(lags) <= max_lag


def test_asynchronous_sampling_does_run_ahead():
    bandit = train(max_lag=1)
    assert max(step["loop/lag_max"] for step in bandit.history) == 1


def test_a_rollout_that_is_overtaken_is_dropped_and_counted():
    class Uneven(Bandit):
        async def generate(self, asked, **rest):
            group = await super().generate(asked, **rest)
            if asked.id == "p/0":  # finishes long after the weights have moved on
                await asyncio.sleep(0.01)
            return group

    bandit = Uneven()
    loop = make(bandit, steps=40, max_lag=1)
    run(loop)
    assert loop.totals["dropped/stale"] > 0
    assert (
        sum(step.get("loop/stale", 0) for step in bandit.history) == (loop.totals["dropped/stale"])
    )


def test_on_policy_batches_do_not_depend_on_which_rollout_finishes_first():
    class Jittery(Bandit):
        async def generate(self, asked, **rest):
            group = await super().generate(asked, **rest)
            await asyncio.sleep(random.random() * 0.003)
            return group

    def ids(bandit):
        run(make(bandit, steps=5))
        return [s.rollout.text for batch in bandit.batches for s in batch.samples]

    assert ids(Jittery()) == ids(Bandit())


def test_each_epoch_has_its_own_key():
    bandit = train(steps=20)
    assert len(set(bandit.asked)) == len(bandit.asked)


def test_every_problem_drawn_is_accounted_for_at_every_step():
    seen = []

    async def save(step, state):
        totals = state["totals"]
        dropped = sum(n for name, n in totals.items() if name.startswith("dropped/"))
        held = len(state["ready"]) + len(state["in_flight"])
        seen.append(totals["drawn"] == totals["trained"] + dropped + held)
        return {}

    train(save=save, max_lag=2)
    assert seen == [True] * 30


def test_a_resumed_run_goes_on_as_if_it_had_not_stopped():
    whole = train(steps=6)

    states = []

    async def save(step, state):
        states.append(state)
        return {}

    first = Bandit()
    run(make(first, steps=3, save=save))
    second = Bandit()
    second.skill, second.version = first.skill, first.version
    loop = make(second, steps=6)
    loop.load_state_dict(states[-1])
    run(loop)
    assert second.skill == whole.skill
    assert [m["step"] for m in second.history] == [4, 5, 6]


def test_what_was_in_flight_is_sampled_again_first_after_a_resume():
    states = []

    async def save(step, state):
        states.append(state)
        return {}

    class Stuck(Bandit):
        async def generate(self, asked, *, n, epoch_key):
            if len(self.asked) == 1:
                self.asked.append((asked.id, epoch_key))
                await asyncio.Event().wait()
            return await super().generate(asked, n=n, epoch_key=epoch_key)

    run(make(Stuck(), steps=3, max_lag=2, save=save))
    waiting = [draw.problem.id for draw in states[-1]["in_flight"]]
    assert waiting
    second = Bandit()
    second.version = 3
    loop = make(second, steps=4, max_lag=2)
    loop.load_state_dict(states[-1])
    run(loop)
    assert [id for id, _ in second.asked[: len(waiting)]] == waiting


def test_stop_ends_the_run_between_steps_with_everything_accounted_for():
    async def stopped():
        bandit = Bandit()
        loop = make(bandit, steps=10**9)

        class Stopper(Bandit):
            def log(self, step, metrics):
                if step == 3:
                    loop.stop.set()

        loop.sink = Stopper()
        await asyncio.wait_for(loop.run(), timeout=10)
        loop.state_dict()
        return loop.step

    assert asyncio.run(stopped()) == 3


def failure(loop: Loop) -> BaseException:
    with pytest.raises(BaseException) as caught:
        run(loop)
    error = caught.value
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def test_a_policy_with_nothing_left_to_learn_ends_the_run_and_says_why():
    bandit = Bandit()
    bandit.skill = 100.0
    error = failure(make(bandit))
    assert isinstance(error, Starved)
    assert "'too_easy': 80" in str(error) and "add harder problems" in str(error)


def test_a_run_with_nothing_to_learn_goes_on_where_everybody_sees_it_before_it_ends():
    bandit = Bandit()
    bandit.skill = -100.0
    error = failure(make(bandit, relax_after_steps=2, max_starved_steps=5))
    assert isinstance(error, Starved)
    assert [m["step"] for m in bandit.history] == [1, 2]
    assert bandit.history[0]["difficulty/too_hard"] == 8
    assert bandit.history[1]["difficulty/relaxed"] == 4


def test_without_relaxing_a_run_samples_until_it_ends():
    bandit = Bandit()
    bandit.skill = -100.0
    assert isinstance(failure(make(bandit, relax_after_steps=0)), Starved)
    assert bandit.history == []


def test_too_many_failed_verdicts_end_the_run():
    class Flaky(Bandit):
        async def grade(self, group):
            graded = await super().grade(group)
            return GradedGroup(
                problem=graded.problem,
                rollouts_G=graded.rollouts_G[2:],
                verdicts_G=graded.verdicts_G[2:],
                ungraded=(verdict(None),) * 2,
            )

    error = failure(make(Flaky(), max_failure_rate=0.1))
    assert isinstance(error, GraderFailing)
    assert "max_failure_rate=0.1" in str(error)


def test_a_grader_that_fails_on_everything_ends_the_run_and_is_never_a_zero():
    class Broken(Bandit):
        async def grade(self, group):
            failed = tuple(verdict(None) for _ in group.rollouts_G)
            return GradedGroup(problem=group.problem, rollouts_G=(), verdicts_G=(), ungraded=failed)

    bandit = Broken()
    error = failure(make(bandit))
    assert isinstance(error, Starved) and "rewards/timeout" in str(error)
    assert bandit.batches == []


def test_a_failing_engine_ends_the_run_with_its_own_error():
    class Broken(Bandit):
        async def generate(self, asked, **rest):
            raise RuntimeError("engine 3 died")

    assert "engine 3 died" in str(failure(make(Broken())))


def test_a_batch_that_does_not_fill_names_what_it_waited_for():
    class Hanging(Bandit):
        async def generate(self, asked, **rest):
            await asyncio.sleep(3600)

    error = failure(make(Hanging(), batch_seconds=0.1))
    assert isinstance(error, TimeoutError) and "0 of 4 groups" in str(error)
    assert "budgets.batch" in str(error)


def test_versions_count_optimizer_steps():
    bandit = Bandit()
    loop = make(bandit, steps=3, updates_per_step=2)
    run(loop)
    assert loop.version == WeightVersion(6)
