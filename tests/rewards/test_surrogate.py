import pytest

from rlvr.rewards.surrogate import Surrogate
from rlvr.types import Outcome, Problem

PROBLEM = Problem(id="p", prompt="", answer="")


@pytest.mark.parametrize(
    ("text", "thought", "valid"),
    [
        ("<think>a</think> \\boxed{4}", 1, 1),
        ("\\boxed{\\frac{1}{2}}", 0, 1),
        ("<think>a</think> four", 1, 0),
        ("<think>\\boxed{4}", 0, 0),
        ("four", 0, 0),
        ("", 0, 0),
    ],
)
def test_half_is_for_the_thought_and_half_for_an_answer_that_can_be_read(text, thought, valid):
    verdict = Surrogate()(PROBLEM, text)
    assert verdict.reward == (thought + valid) / 2
    assert verdict.parts == {"thought": thought, "valid": valid}
    assert (verdict.outcome is Outcome.CORRECT) == bool(valid)
    assert Surrogate(thought=False)(PROBLEM, text).reward == valid / 2


def test_an_answer_that_cannot_be_read_is_wrong():
    verdict = Surrogate()(PROBLEM, "\\boxed{\\frac{}{}}")
    assert (verdict.outcome, verdict.reward) == (Outcome.WRONG, 0.0)


@pytest.mark.parametrize(
    "reward", [Surrogate(), Surrogate(thought=False), Surrogate(form="hashes")]
)
def test_a_text_in_its_dress_earns_the_maximum(reward):
    assert reward(PROBLEM, reward.dress("4")).reward == reward.maximum


def test_a_form_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="form='bocks' is no way"):
        Surrogate(form="bocks")


@pytest.mark.parametrize("text", ["\\boxed{" * 150_000, "\\boxed{" + "1+" * 500_000 + "1}"])
def test_a_megabyte_takes_linear_time(text):
    assert Surrogate()(PROBLEM, text).reward == 0
