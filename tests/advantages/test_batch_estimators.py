"""What holds for every estimator that looks at the whole batch."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr.advantages.base import BatchAdvantage
from rlvr.advantages.gdpo import Gdpo
from rlvr.advantages.gpg import Gpg
from rlvr.advantages.grpo import Grpo
from rlvr.advantages.reinforce import ReinforceBatchMean
from rlvr.advantages.reinforce_pp import ReinforcePpBaseline
from rlvr.types import GradedGroup, Outcome, Verdict
from tests.conftest import problem, rollout

WHITENED = [ReinforcePpBaseline(), Gdpo(weights={"all": 1.0})]
BALANCED = [*[Grpo(std="batch"), Grpo(std="batch", ddof=0)], Gpg()]
OVER_ROLLOUTS = [Grpo(mean="batch", std="batch"), Gdpo(weights={"all": 1.0}, over="rollouts")]
ALL = [*WHITENED, *BALANCED, ReinforceBatchMean(), *OVER_ROLLOUTS]

# A rollout is its reward, in whole steps, and its length.
ROLLOUTS = st.tuples(st.integers(-8, 8).map(lambda step: step / 8), st.integers(1, 5))
BATCHES = st.lists(st.lists(ROLLOUTS, max_size=5), max_size=4)


def batch_of(batch, *, shift=0.0) -> list[GradedGroup]:
    return [
        GradedGroup(
            problem=problem(),
            rollouts_G=tuple(rollout(tokens=tokens) for _, tokens in group),
            verdicts_G=tuple(
                Verdict(outcome=Outcome.WRONG, reward=reward + shift, parts={"all": reward + shift})
                for reward, _ in group
            ),
        )
        for group in batch
    ]


def named(advantage: object) -> str:
    return repr(advantage)


def close(rows):
    return [pytest.approx(row, abs=1e-9) for row in rows]


@pytest.mark.parametrize("advantage", ALL, ids=named)
@settings(max_examples=30, deadline=None)
@given(batch=BATCHES)
def test_each_rollout_has_one_finite_advantage(advantage, batch):
    rows = advantage.over_batch(batch_of(batch))
    assert [len(row) for row in rows] == [len(group) for group in batch]
    assert all(abs(value) < 1e6 for row in rows for value in row)


@pytest.mark.parametrize("advantage", ALL, ids=named)
@settings(max_examples=30, deadline=None)
@given(group=st.lists(ROLLOUTS, max_size=6))
def test_a_single_group_is_a_batch(advantage, group):
    assert isinstance(advantage, BatchAdvantage)
    (of_batch,) = advantage.over_batch(batch_of([group]))
    assert advantage(batch_of([group])[0]) == of_batch


@pytest.mark.parametrize("advantage", ALL, ids=named)
@pytest.mark.parametrize("reward", [1.0, 0.1, 0.0, -1.0])
def test_a_batch_of_equal_rewards_trains_nothing(advantage, reward):
    rows = advantage.over_batch(batch_of([[(reward, 2)] * 3, [(reward, 5)], [], [(reward, 1)] * 7]))
    assert rows == [[0.0] * 3, [0.0], [], [0.0] * 7]


@pytest.mark.parametrize("advantage", ALL, ids=named)
@settings(max_examples=30, deadline=None)
@given(batch=BATCHES)
def test_a_better_reward_of_a_problem_never_gets_less(advantage, batch):
    for row in advantage.over_batch(batch_of([sorted(group) for group in batch])):
        assert all(lower <= higher + 1e-9 for lower, higher in pairwise(row))


@pytest.mark.parametrize("advantage", ALL, ids=named)
@settings(max_examples=30, deadline=None)
@given(batch=BATCHES)
def test_the_order_of_groups_and_of_rollouts_does_not_matter(advantage, batch):
    there = advantage.over_batch(batch_of(batch))
    back = advantage.over_batch(batch_of([group[::-1] for group in reversed(batch)]))
    assert [list(reversed(row)) for row in reversed(back)] == close(there)


@pytest.mark.parametrize("advantage", [a for a in ALL if not isinstance(a, Gpg)], ids=named)
@settings(max_examples=30, deadline=None)
@given(batch=BATCHES, shift=st.integers(-3, 3))
def test_what_is_added_to_every_reward_changes_nothing(advantage, batch, shift):
    there = advantage.over_batch(batch_of(batch))
    assert advantage.over_batch(batch_of(batch, shift=float(shift))) == close(there)


@pytest.mark.parametrize("advantage", BALANCED, ids=named)
@settings(max_examples=30, deadline=None)
@given(batch=BATCHES)
def test_in_every_group_what_some_gain_the_others_lose(advantage, batch):
    for row in advantage.over_batch(batch_of(batch)):
        assert sum(row) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("advantage", WHITENED, ids=named)
@settings(max_examples=30, deadline=None)
@given(batch=BATCHES)
def test_weighted_by_length_a_whitened_batch_adds_up_to_nothing(advantage, batch):
    rows = advantage.over_batch(batch_of(batch))
    tokens = [tokens for group in batch for _, tokens in group]
    values = [value for row in rows for value in row]
    weighed = sum(value * length for value, length in zip(values, tokens, strict=True))
    assert weighed == pytest.approx(0.0, abs=1e-8)


@settings(max_examples=30, deadline=None)
@given(batch=BATCHES)
def test_against_the_mean_of_the_batch_the_batch_adds_up_to_nothing(batch):
    rows = ReinforceBatchMean().over_batch(batch_of(batch))
    assert sum(map(sum, rows)) == pytest.approx(0.0, abs=1e-9)
