import pytest

from rlvr.rewards.shaping.kimi_length import KimiLength
from tests.rewards.shaping.groups import EMPTY, group, rollout, verdict


def shaped(lengths, right, weight=1.0, version=0, **settings):
    rollouts = [rollout(tokens, version=version) for tokens in lengths]
    given = group(rollouts, map(verdict, right))
    return list(KimiLength(weight=weight, **settings)(given))


def test_rewards_fall_with_length_and_wrong_answers_gain_nothing():
    right = [1, 1, 1, 0]
    changes = [s - r for s, r in zip(shaped([100, 300, 500, 200], right), right, strict=True)]
    assert changes == [0.5, 0.0, -0.5, 0.0]


def test_a_long_wrong_answer_loses():
    assert shaped([100, 500], [1, 0]) == [1.5, -0.5]


def test_the_weight_scales_the_change():
    assert shaped([100, 500], [1, 1], weight=0.1) == pytest.approx([1.05, 0.95])


@pytest.mark.parametrize("lengths", [[7], [7, 7, 7]])
def test_equal_lengths_change_nothing(lengths):
    assert shaped(lengths, [1] * len(lengths)) == [1] * len(lengths)
    assert list(KimiLength(weight=1.0)(EMPTY)) == []


def test_it_waits_for_the_version_that_it_begins_with():
    assert shaped([100, 500], [1, 1], after_version=3, version=2) == [1, 1]
    assert shaped([100, 500], [1, 1], after_version=3, version=3) == [1.5, 0.5]


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"weight": 0.0}, "weight=0.0: a number above 0"),
        ({"weight": float("nan")}, "weight=nan"),
        ({"weight": 1.0, "after_version": -1}, "after_version=-1: optimizer steps"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong, complaint):
    with pytest.raises(ValueError, match=complaint):
        KimiLength(**wrong)
