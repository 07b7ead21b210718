from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr.advantages.dr_grpo import DrGrpo
from rlvr.advantages.opo import Opo
from rlvr.types import GradedGroup
from tests.conftest import graded, problem, rollout, verdict


def group_of(rewards: Sequence[float], lengths: Sequence[int]) -> GradedGroup:
    return GradedGroup(
        problem=problem(),
        rollouts_G=tuple(rollout(tokens=tokens) for tokens in lengths),
        verdicts_G=tuple(verdict(reward) for reward in rewards),
    )


@pytest.mark.parametrize(
    ("rewards", "lengths", "baseline"),
    [
        ((1.0, 0.0, 0.0, 1.0), (2, 4, 3, 5), 0.5),
        ((0.0, 0.0, 0.0, 1.0), (1, 5, 3, 2), 2 / 11),
        ((1.0, 0.0), (9, 1), 0.9),
        ((1.0, -1.0, 0.5), (2, 4, 6), 1 / 12),
    ],
)
def test_by_hand(rewards, lengths, baseline):
    expected = [reward - baseline for reward in rewards]
    assert Opo()(group_of(rewards, lengths)) == pytest.approx(expected, abs=1e-12)


def test_with_equal_lengths_it_is_dr_grpo():
    group = graded(0.3, 1.0, -0.7, 0.1)
    assert Opo()(group) == pytest.approx(DrGrpo()(group), abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(rollouts=st.lists(st.tuples(st.floats(-10, 10), st.integers(1, 50)), min_size=2, max_size=8))
def test_weighted_by_length_advantages_add_up_to_nothing(rollouts):
    rewards, lengths = zip(*rollouts, strict=True)
    advantages = Opo()(group_of(rewards, lengths))
    weighed = sum(a * length for a, length in zip(advantages, lengths, strict=True))
    assert weighed == pytest.approx(0.0, abs=1e-9)
