import math
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr.advantages.pass_at_k import PassAtK
from tests.conftest import graded


@pytest.mark.parametrize(
    ("k", "rewards", "expected"),
    [
        # 3 of 6 pairs hold the right answer: mean 1/2, std 1/2; a wrong one is in one of three.
        (2, (0.0, 0.0, 0.0, 1.0), [-1 / 3, -1 / 3, -1 / 3, 1.0]),
        # 5 of 6 pairs: mean 5/6, std sqrt(5)/6.
        (2, (1.0, 0.0, 0.0, 1.0), [5**-0.5, -(5**-0.5), -(5**-0.5), 5**-0.5]),
        # 3 of 4 triples: mean 3/4, std sqrt(3)/4.
        (3, (0.0, 0.0, 0.0, 1.0), [-(3**-1.5), -(3**-1.5), -(3**-1.5), 3**-0.5]),
        # Best of a pair: 2, 4, 4; mean 10/3, std sqrt(8)/3.
        (2, (0.0, 2.0, 4.0), [-(8**-0.5), -(8**-0.5), 2 * 8**-0.5]),
    ],
)
def test_by_hand(k, rewards, expected):
    assert PassAtK(k=k)(graded(*rewards)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("right", "wrong", "k"), [(1, 7, 4), (3, 5, 4), (4, 12, 8), (2, 6, 2)])
def test_with_right_and_wrong_alone_it_is_the_published_formula(right, wrong, k):
    count = right + wrong
    mean = 1 - math.comb(wrong, k) / math.comb(count, k)
    std = math.sqrt(mean * (1 - mean))
    for_right = (1 - mean) / std
    for_wrong = (1 - mean - math.comb(wrong - 1, k - 1) / math.comb(count - 1, k - 1)) / std
    advantages = PassAtK(k=k)(graded(*[1.0] * right, *[0.0] * wrong))
    assert advantages == pytest.approx([for_right] * right + [for_wrong] * wrong, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(
    rewards=st.lists(st.sampled_from([-1.0, 0.0, 0.1, 0.5, 1.0]), min_size=3, max_size=7),
    k=st.integers(2, 6),
)
def test_agrees_with_a_count_over_all_sets(rewards, k):
    sets = list(combinations(range(len(rewards)), k))
    best = [max(rewards[i] for i in members) for members in sets]
    if len(set(best)) < 2:
        assert PassAtK(k=k)(graded(*rewards)) == [0.0] * len(rewards)
        return
    mean = sum(best) / len(best)
    std = math.sqrt(sum((reward - mean) ** 2 for reward in best) / len(best))
    expected: list[float] = []
    for i in range(len(rewards)):
        mine = [reward for reward, members in zip(best, sets, strict=True) if i in members]
        expected.append((sum(mine) / len(mine) - mean) / std)
    assert PassAtK(k=k)(graded(*rewards)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("k", "rewards"),
    [
        (2, (1.0, 1.0, 1.0, 0.0)),  # fewer than k wrong: every pair holds a right one
        (4, (1.0, 0.0, 0.0, 0.0)),  # one set, nothing to hold it against
        (8, (1.0, 0.0, 0.0, 0.0)),
        (2, (1e-200, 0.0, 0.0, 0.0)),  # unequal, but not in their squares
    ],
)
def test_where_every_set_is_as_good_nothing_trains(k, rewards):
    assert PassAtK(k=k)(graded(*rewards)) == [0.0] * 4


@pytest.mark.parametrize("k", [1, 0, -3, 2.5, 4.0, True])
def test_a_k_that_makes_no_sets_is_refused(k):
    with pytest.raises(ValueError, match=rf"k={k}.*take"):
        PassAtK(k=k)


def test_a_difference_that_means_nothing_is_not_blown_up():
    noisy = graded(1.0, 1.0, 1.0, 1.0 + 1e-15)
    assert max(PassAtK(k=2)(noisy)) > 0.5
    assert PassAtK(k=2, min_std=1e-9)(noisy) == [0.0] * 4
    # Half of the pairs hold the right answer: a deviation of 1/2.
    alone = graded(0.0, 0.0, 0.0, 1.0)
    assert PassAtK(k=2, min_std=0.49)(alone) == PassAtK(k=2)(alone) != [0.0] * 4
    assert PassAtK(k=2, min_std=0.5)(alone) == [0.0] * 4


@pytest.mark.parametrize("min_std", [-0.1, float("nan"), float("inf")])
def test_a_deviation_that_can_not_be_is_refused(min_std):
    with pytest.raises(ValueError, match=rf"min_std={min_std}.*take"):
        PassAtK(k=2, min_std=min_std)
