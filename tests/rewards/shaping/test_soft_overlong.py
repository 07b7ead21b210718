import pytest

from rlvr.rewards.shaping.soft_overlong import SoftOverlong
from tests.rewards.shaping.groups import EMPTY, group, rollout, verdict


@pytest.mark.parametrize(
    ("tokens", "penalty"),
    [(10000, 0.0), (16384, 0.0), (18432, -0.5), (20480, -1.0), (21000, -1.0)],
)
@pytest.mark.parametrize("right", [0, 1])
def test_the_penalty_grows_over_the_last_tokens(tokens, penalty, right):
    shaping = SoftOverlong(max_tokens=20480, buffer=4096)
    assert list(shaping(group([rollout(tokens)], [verdict(right)]))) == [right + penalty]


def test_the_factor_is_the_full_penalty():
    shaping = SoftOverlong(max_tokens=8, buffer=4, factor=0.2)
    given = group([rollout(4), rollout(6), rollout(8)], [verdict(1)] * 3)
    assert list(shaping(given)) == pytest.approx([1.0, 0.9, 0.8])
    assert list(shaping(EMPTY)) == []


@pytest.mark.parametrize(("tokens", "penalty"), [(80, 0.0), (90, -0.5), (100, -1.0)])
def test_a_buffer_below_one_is_a_share_of_the_limit(tokens, penalty):
    shaping = SoftOverlong(max_tokens=100, buffer=0.2)
    assert list(shaping(group([rollout(tokens)], [verdict(1)]))) == pytest.approx([1 + penalty])


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"max_tokens": 8, "buffer": 0}, "buffer=0, max_tokens=8"),
        ({"max_tokens": 8, "buffer": 9}, "take 0 < buffer <= max_tokens"),
        ({"max_tokens": 8, "buffer": 4, "factor": -1.0}, "factor=-1.0: the size of the penalty"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong, complaint):
    with pytest.raises(ValueError, match=complaint):
        SoftOverlong(**wrong)
