"""Rewards by reasoning-gym's scorers."""

import pytest

from rlvr.problems.puzzles import ReasoningGym
from rlvr.rewards.reasoning_gym import ReasoningGymScore
from rlvr.types import Outcome
from tests.conftest import problem

SUM = ReasoningGym("train", datasets=["chain_sum"], size=1).all()[0]
LETTERS = ReasoningGym("train", datasets=["spell_backward"], size=1).all()[0]


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        (f"<answer>{SUM.answer}</answer>", "correct"),
        (f"<answer> {SUM.answer}\n</answer> That is it.", "correct"),
        (f"<answer>1</answer> <answer>{SUM.answer}</answer>", "correct"),
        (f"<think><answer>1</answer></think><answer>{SUM.answer}</answer>", "correct"),
        (f"<answer>It is {SUM.answer}, I think</answer>", "wrong"),
        ("<answer>-1</answer>", "wrong"),
        (f"<answer>{'9' * 10**6}</answer>", "wrong"),
        ("<answer>1e99999999</answer>", "wrong"),
        (SUM.answer, "no_answer"),
        ("", "no_answer"),
        (f"<think><answer>{SUM.answer}</answer>", "no_answer"),
    ],
)
def test_the_answer_in_the_tag_is_scored(text: str, outcome: str):
    verdict = ReasoningGymScore()(SUM, text)
    assert (verdict.outcome, verdict.reward) == (outcome, float(outcome == "correct"))


def test_a_part_of_the_score_is_rewarded_only_where_asked_for_and_always_told():
    text = f"<answer>{LETTERS.answer}xx</answer>"
    all_or_nothing = ReasoningGymScore()(LETTERS, text)
    partial = ReasoningGymScore(partial=True)(LETTERS, text)
    assert all_or_nothing.reward == 0.0
    assert partial.reward == all_or_nothing.parts["score"] == partial.parts["score"]
    assert 0 < (partial.reward or 0) < 1
    assert partial.outcome is Outcome.WRONG
    lenient = ReasoningGymScore(correct_from=0.01)(LETTERS, text)
    assert (lenient.outcome, lenient.reward) == (Outcome.CORRECT, 1.0)


def test_another_form_can_be_asked_for():
    assert ReasoningGymScore(form="box")(SUM, rf"\boxed{{{SUM.answer}}}").reward == 1.0


def test_a_problem_without_a_scorer_judges_nothing():
    verdict = ReasoningGymScore()(problem(), "<answer>4</answer>")
    assert (verdict.outcome, verdict.reward) == (Outcome.GOLD_UNPARSED, None)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"correct_from": 0.0}, "correct_from=0.0.*above 0 and at most 1"),
        ({"correct_from": 1.5}, "correct_from=1.5"),
        ({"form": "tag"}, "form='tag'"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, reason: str):
    with pytest.raises(ValueError, match=reason):
        ReasoningGymScore(**settings)
