import pytest

from rlvr.advantages.dr_grpo import DrGrpo
from rlvr.advantages.grpo import Grpo
from tests.conftest import graded

HALF = (1.0, 0.0, 0.0, 1.0)
QUARTER = (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("advantage", "rewards", "expected"),
    [
        (Grpo(), HALF, [0.8660239038, -0.8660239038, -0.8660239038, 0.8660239038]),
        (Grpo(), QUARTER, [-0.499999, -0.499999, -0.499999, 1.499997]),
        (Grpo(ddof=0), HALF, [0.999998, -0.999998, -0.999998, 0.999998]),
        (Grpo(ddof=0), QUARTER, [-0.5773489359, -0.5773489359, -0.5773489359, 1.7320468076]),
        (Grpo(std="none"), HALF, [0.5, -0.5, -0.5, 0.5]),
        (DrGrpo(), HALF, [0.5, -0.5, -0.5, 0.5]),
        (DrGrpo(), QUARTER, [-0.25, -0.25, -0.25, 0.75]),
    ],
)
def test_by_hand(advantage, rewards, expected):
    assert advantage(graded(*rewards)) == pytest.approx(expected, abs=1e-9)


# All eight rewards: mean 3/8, squares 15/8, so a variance of 15/56, or 15/64 of the population.
@pytest.mark.parametrize(
    ("settings", "deviation"),
    [
        ({}, (15 / 56) ** 0.5 + 1e-6),
        ({"eps": 1e-4}, (15 / 56) ** 0.5 + 1e-4),
        ({"ddof": 0, "eps": 0.0}, (15 / 64) ** 0.5),
    ],
)
def test_the_deviation_of_the_batch_is_that_of_all_its_rewards(settings, deviation):
    halves, quarters = Grpo(std="batch", **settings).over_batch([graded(*HALF), graded(*QUARTER)])
    assert halves == pytest.approx([a / deviation for a in (0.5, -0.5, -0.5, 0.5)], abs=1e-12)
    assert quarters == pytest.approx([a / deviation for a in (-0.25, -0.25, -0.25, 0.75)])


# The same eight rewards, held against their own mean of 3/8.
@pytest.mark.parametrize(
    ("settings", "deviation"),
    [
        ({"std": "batch"}, (15 / 56) ** 0.5 + 1e-6),
        ({"std": "batch", "ddof": 0, "eps": 0.0}, (15 / 64) ** 0.5),
        ({"std": "none"}, 1.0),
    ],
)
def test_under_the_mean_of_the_batch_every_rollout_is_held_against_all(settings, deviation):
    advantage = Grpo(mean="batch", **settings)
    halves, quarters = advantage.over_batch([graded(*HALF), graded(*QUARTER)])
    high, low = 0.625 / deviation, -0.375 / deviation
    assert halves == pytest.approx([high, low, low, high], abs=1e-12)
    assert quarters == pytest.approx([low, low, low, high], abs=1e-12)


def test_under_the_mean_of_the_batch_a_group_of_equal_rewards_trains():
    # Mean 3/5, squares 6/5.
    groups = [graded(1.0, 1.0), graded(0.0), graded(), graded(0.0, 1.0)]
    advantages = Grpo(mean="batch", std="batch", eps=0.0).over_batch(groups)
    high, low = 0.4 / 0.3**0.5, -0.6 / 0.3**0.5
    assert [len(row) for row in advantages] == [2, 1, 0, 2]
    flat = [a for row in advantages for a in row]
    assert flat == pytest.approx([high, high, low, low, high], abs=1e-12)


@pytest.mark.parametrize("std", ["batch", "none"])
def test_a_batch_of_equal_rewards_gets_zeros_under_its_own_mean(std):
    advantage = Grpo(mean="batch", std=std)
    assert advantage.over_batch([graded(0.1, 0.1), graded(0.1)]) == [[0.0, 0.0], [0.0]]
    assert advantage.over_batch([]) == []


@pytest.mark.parametrize("std", ["batch", "none"])
def test_a_group_alone_is_the_whole_batch(std):
    assert Grpo(mean="batch", std=std)(graded(*QUARTER)) == Grpo(std=std)(graded(*QUARTER))


@pytest.mark.parametrize("advantage", [Grpo(), Grpo(ddof=0), Grpo(std="none")])
def test_other_groups_change_nothing_where_the_deviation_is_not_the_batchs(advantage):
    groups = [graded(*HALF), graded(*QUARTER), graded(5.0, 5.0)]
    assert advantage.over_batch(groups) == [advantage(group) for group in groups]


def test_a_group_of_equal_rewards_gets_zeros_among_others_too():
    groups = [graded(*HALF), graded(0.1, 0.1, 0.1), graded(1.0), graded()]
    assert Grpo(std="batch").over_batch(groups)[1:] == [[0.0] * 3, [0.0], []]


def test_a_batch_whose_deviation_means_nothing_is_not_blown_up():
    groups = [graded(1.0, 0.999), graded(1.0, 1.0)]
    assert Grpo(std="batch").over_batch(groups)[0][0] > 0.5
    assert Grpo(std="batch", min_std=0.01).over_batch(groups) == [[0.0] * 2] * 2


@pytest.mark.parametrize("std", ["group", "batch"])
def test_a_difference_that_is_lost_in_its_square_divides_by_nothing(std):
    assert Grpo(std=std, eps=0.0)(graded(1e-200, 0.0)) == [0.0, 0.0]


@pytest.mark.parametrize("std", ["group", "batch"])
def test_noise_of_rounding_is_kept_small(std):
    noisy = graded(0.1 + 0.2, 0.3, 0.3, 0.3)
    assert max(map(abs, Grpo(std=std)(noisy))) < 1e-9


@pytest.mark.parametrize("advantage", [Grpo(), Grpo(ddof=0), DrGrpo()])
@pytest.mark.parametrize("rewards", [(), (1.0,), (1.0, 1.0, 1.0), (0.1, 0.1, 0.1)])
def test_a_group_that_compares_nothing_gets_zeros(advantage, rewards):
    assert advantage(graded(*rewards)) == [0.0] * len(rewards)


def test_advantages_of_a_group_add_up_to_nothing():
    assert sum(Grpo()(graded(0.3, 1.0, -0.7, 0.1))) == pytest.approx(0.0, abs=1e-12)


def test_a_difference_that_means_nothing_is_not_blown_up():
    shaped = graded(1.0, 1.0, 1.0, 0.999)
    assert min(Grpo()(shaped)) == pytest.approx(-1.5, abs=0.01)
    assert Grpo(min_std=0.01)(shaped) == [0.0] * 4
    assert Grpo(min_std=0.01)(graded(*HALF)) == Grpo()(graded(*HALF))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"std": "step"}, "std='step'"),
        ({"mean": "step"}, "mean='step'"),
        ({"mean": "batch"}, "mean='batch' with std='group'"),
        ({"ddof": 2}, "ddof=2"),
        ({"eps": -1.0}, "eps=-1.0"),
        ({"eps": float("nan")}, "eps=nan"),
        ({"min_std": -0.1}, "min_std=-0.1"),
        ({"min_std": 0.1, "std": "none"}, "min_std=0.1 with std='none'"),
    ],
)
def test_a_setting_that_means_nothing_is_refused(settings, says):
    with pytest.raises(ValueError, match=f"{says}.*take"):
        Grpo(**settings)
