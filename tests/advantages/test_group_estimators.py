"""What holds for every estimator that compares the rollouts of a group with each other."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr.advantages.best_of_group import BestOfGroup
from rlvr.advantages.dr_grpo import DrGrpo
from rlvr.advantages.gpg import Gpg
from rlvr.advantages.grpo import Grpo
from rlvr.advantages.max_rl import MaxRl
from rlvr.advantages.opo import Opo
from rlvr.advantages.pass_at_k import PassAtK
from rlvr.advantages.pshw import Pshw
from rlvr.advantages.rloo import Rloo
from tests.conftest import graded

# The rollouts of ``graded`` are equally long, so that Opo's advantages add up to zero as well.
CENTRED = [DrGrpo(), Rloo(), Opo(), Grpo(std="none")]
BALANCED = [
    *CENTRED,
    *[Grpo(), Grpo(ddof=0), Grpo(std="batch"), PassAtK(k=2), MaxRl(), Pshw(), Gpg()],
]
COMPARING = [*BALANCED, PassAtK(k=3), BestOfGroup(), BestOfGroup(std="group")]

# Whole steps: differences that are lost in rounding would say nothing about an estimator.
REWARDS = st.lists(st.integers(-8, 8).map(lambda step: step / 8), min_size=0, max_size=9)


def named(advantage: object) -> str:
    return repr(advantage)


@pytest.mark.parametrize("advantage", COMPARING, ids=named)
@settings(max_examples=50, deadline=None)
@given(rewards=REWARDS)
def test_each_rollout_has_one_finite_advantage(advantage, rewards):
    advantages = advantage(graded(*rewards))
    assert len(advantages) == len(rewards)
    assert all(abs(a) < 1e6 for a in advantages)


@pytest.mark.parametrize("advantage", COMPARING, ids=named)
@pytest.mark.parametrize("reward", [1.0, 0.1, 0.0, -1.0])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 8])
def test_equal_rewards_compare_nothing(advantage, reward, count):
    assert advantage(graded(*[reward] * count)) == [0.0] * count


@pytest.mark.parametrize("advantage", BALANCED, ids=named)
@settings(max_examples=50, deadline=None)
@given(rewards=REWARDS)
def test_what_some_gain_the_others_lose(advantage, rewards):
    assert sum(advantage(graded(*rewards))) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("advantage", COMPARING, ids=named)
@settings(max_examples=50, deadline=None)
@given(rewards=REWARDS)
def test_a_better_reward_never_gets_less(advantage, rewards):
    advantages = advantage(graded(*sorted(rewards)))
    assert all(lower <= higher + 1e-9 for lower, higher in pairwise(advantages))


@pytest.mark.parametrize("advantage", COMPARING, ids=named)
@settings(max_examples=50, deadline=None)
@given(rewards=REWARDS)
def test_the_order_of_the_group_does_not_matter(advantage, rewards):
    there = advantage(graded(*rewards))
    back = advantage(graded(*reversed(rewards)))
    assert list(reversed(back)) == pytest.approx(there, abs=1e-9)


@pytest.mark.parametrize("advantage", COMPARING, ids=named)
@settings(max_examples=50, deadline=None)
@given(rewards=REWARDS)
def test_equal_rewards_get_equal_credit(advantage, rewards):
    credit: dict[float, float] = {}
    for reward, value in zip(rewards, advantage(graded(*rewards)), strict=True):
        assert credit.setdefault(reward, value) == value


@pytest.mark.parametrize("advantage", [*CENTRED, Grpo(), PassAtK(k=2), BestOfGroup()], ids=named)
@settings(max_examples=50, deadline=None)
@given(rewards=REWARDS, shift=st.integers(-3, 3))
def test_what_is_added_to_every_reward_changes_nothing(advantage, rewards, shift):
    there = advantage(graded(*rewards))
    moved = advantage(graded(*[reward + shift for reward in rewards]))
    assert moved == pytest.approx(there, abs=1e-9)


@pytest.mark.parametrize("advantage", [*CENTRED, BestOfGroup()], ids=named)
@settings(max_examples=50, deadline=None)
@given(rewards=REWARDS)
def test_advantages_grow_with_the_rewards_where_nothing_is_divided(advantage, rewards):
    there = advantage(graded(*rewards))
    scaled = advantage(graded(*[4 * reward for reward in rewards]))
    assert scaled == pytest.approx([4 * value for value in there], abs=1e-9)


@pytest.mark.parametrize("advantage", [Grpo(eps=0.0), Grpo(eps=0.0, ddof=0), PassAtK(k=2)])
@settings(max_examples=50, deadline=None)
@given(rewards=REWARDS)
def test_the_scale_of_the_rewards_is_lost_where_a_deviation_divides(advantage, rewards):
    there = advantage(graded(*rewards))
    scaled = advantage(graded(*[4 * reward for reward in rewards]))
    assert scaled == pytest.approx(there, abs=1e-9)
