import pytest

from rlvr.rewards.shaping.ngram_repetition import NgramRepetition, repetition
from tests.rewards.shaping.groups import EMPTY, group, rollout, verdict


@pytest.mark.parametrize(
    ("text", "n", "share"),
    [
        ("a b c d", 2, 0.0),
        ("a a a a", 2, 2 / 3),
        ("a b a b a b", 2, 3 / 5),
        ("A b a B", 2, 1 / 3),
        ("a b", 3, 0.0),
        ("", 1, 0.0),
        ("a b a", 1, 1 / 3),
    ],
)
def test_the_share_of_runs_that_were_there_before(text, n, share):
    assert repetition(text, n) == pytest.approx(share)


def test_the_penalty_is_added_to_each_reward():
    shaping = NgramRepetition(n=2, max_penalty=-0.3)
    given = group([rollout(text="a a a a"), rollout(text="a b c")], [verdict(1), verdict(0)])
    assert list(shaping(given)) == pytest.approx([0.8, 0.0])
    assert list(shaping(EMPTY)) == []


@pytest.mark.parametrize("text", ["a " * 500_000, "a" * 10**6, " ".join(map(str, range(150_000)))])
def test_a_megabyte_takes_linear_time(text):
    assert 0.0 <= repetition(text, 20) < 1.0


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"n": 0, "max_penalty": -1.0}, "n=0: a run has at least one word"),
        ({"n": 20, "max_penalty": 1.0}, "max_penalty=1.0: it is added"),
        ({"n": 20, "max_penalty": float("-inf")}, "max_penalty=-inf"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong, complaint):
    with pytest.raises(ValueError, match=complaint):
        NgramRepetition(**wrong)
