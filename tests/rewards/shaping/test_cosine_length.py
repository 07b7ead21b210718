import math

import pytest

from rlvr.rewards.shaping.cosine_length import CosineLength
from rlvr.types import Finish
from tests.rewards.shaping.groups import EMPTY, group, rollout, verdict

CLOSED = "<think>a</think>4"


def shaped(tokens, right, text=CLOSED, finish=Finish.STOP, **settings):
    given = group([rollout(tokens, text, finish)], [verdict(right, 0.25)])
    return CosineLength(**settings)(given)[0]


@pytest.mark.parametrize(
    ("tokens", "right", "reward"),
    [
        (1, 1, 1.0),
        (25600, 1, 1.0),
        (28672, 1, 0.75),
        (27136, 1, 0.75 + 0.25 * math.cos(math.pi / 4)),
        (31744, 1, 0.5),
        (40000, 1, 0.5),
        (1851, 0, -0.75),
        (3702, 0, -0.5),
        (20000, 0, -0.5),
    ],
)
def test_right_answers_fall_and_wrong_ones_rise_along_a_cosine(tokens, right, reward):
    assert shaped(tokens, right) == pytest.approx(reward)


def test_a_short_wrong_answer_is_the_worst():
    assert shaped(1, 0) == pytest.approx(-1.0, abs=1e-6)
    assert shaped(1, 0) < shaped(2, 0) < shaped(1000, 0) < shaped(1, 1)


def test_what_was_cut_off_or_thought_in_a_broken_way_has_its_own_reward():
    assert shaped(100, 1, finish=Finish.LENGTH) == -0.5
    assert shaped(100, 1, text="<think>a", finish=Finish.LENGTH) == -0.5
    assert shaped(100, 1, text="4") == -1.0
    assert shaped(100, 1, text="4", broken_thought=None) == 1.0
    assert list(CosineLength()(EMPTY)) == []


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"right_from": 31744}, "0 <= right_from < right_until"),
        ({"wrong_until": 0}, "wrong_until=0"),
        ({"right_long": -2.0}, "a wrong answer could earn more"),
        ({"right_short": float("inf")}, "finite numbers"),
        ({"unfinished": 1.0}, "unfinished=1.0, .* less than right_short"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong, complaint):
    with pytest.raises(ValueError, match=complaint):
        CosineLength(**wrong)
