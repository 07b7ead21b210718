from dataclasses import dataclass

import pytest

from rlvr.rewards.math import Math
from rlvr.rewards.tinyv import RuleThenModel
from rlvr.types import Outcome, Problem, Verdict

PROBLEM = Problem(id="p", prompt="", answer="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Says:
    """The outcome of its name, and counts how often it was asked."""

    outcome: Outcome
    asked: list[str]

    def __call__(self, problem, text):
        self.asked.append(text)
        reward = float(self.outcome is Outcome.CORRECT) if self.outcome.is_graded else None
        return Verdict(outcome=self.outcome, reward=reward, extracted=text, verifier="says")


def says(outcome):
    return Says(outcome=outcome, asked=[])


def outcome(value):
    return Outcome.CORRECT if value else Outcome.WRONG


@pytest.mark.parametrize(
    ("mode", "rule", "model", "weight", "score"),
    [
        ("addon", 1, 0, 1.0, 1.0),
        ("addon", 0, 1, 1.0, 1.0),
        ("addon", 0, 0, 1.0, 0.0),
        ("addon", 0, 1, 0.5, 0.5),
        ("mixed", 1, 0, 0.3, 0.7),
        ("mixed", 0, 1, 0.3, 0.3),
        ("mixed", 1, 1, 0.3, 1.0),
        ("model_only", 1, 0, 1.0, 0.0),
        ("model_only", 0, 1, 0.5, 0.5),
    ],
)
def test_the_score_of_rule_and_model(mode, rule, model, weight, score):
    both = RuleThenModel(
        rule=says(outcome(rule)), model=says(outcome(model)), mode=mode, weight=weight
    )
    verdict = both(PROBLEM, "x")
    assert verdict.reward == pytest.approx(score)
    accepted = model if mode == "model_only" else rule or model
    assert verdict.outcome is outcome(accepted)
    assert verdict.verifier == "tinyv@1"


def test_the_model_is_asked_only_where_the_rule_says_wrong():
    for ruled, asked in (
        (Outcome.CORRECT, 0),
        (Outcome.WRONG, 1),
        (Outcome.NO_ANSWER, 0),
        (Outcome.GOLD_UNPARSED, 0),
        (Outcome.ERROR, 0),
    ):
        model = says(Outcome.CORRECT)
        verdict = RuleThenModel(rule=says(ruled), model=model)(PROBLEM, "x")
        assert len(model.asked) == asked
        if not asked:
            assert verdict.outcome is ruled


def test_the_rule_is_not_asked_where_the_model_alone_counts():
    rule = says(Outcome.CORRECT)
    RuleThenModel(rule=rule, model=says(Outcome.WRONG), mode="model_only")(PROBLEM, "x")
    assert rule.asked == []


@pytest.mark.parametrize("failure", [Outcome.ERROR, Outcome.ABSTAIN, Outcome.TIMEOUT])
def test_a_model_that_fails_leaves_no_verdict(failure):
    verdict = RuleThenModel(rule=says(Outcome.WRONG), model=says(failure))(PROBLEM, "x")
    assert (verdict.outcome, verdict.reward) == (failure, None)


def test_disagreement_is_logged():
    verdict = RuleThenModel(rule=says(Outcome.WRONG), model=says(Outcome.CORRECT))(PROBLEM, "x")
    assert verdict.parts == {
        "rule": 0.0,
        "judge/asked": 1.0,
        "judge/accepts": 1.0,
        "judge/disagrees": 1.0,
        "judge/capped": 0.0,
    }
    verdict = RuleThenModel(rule=says(Outcome.CORRECT), model=says(Outcome.WRONG))(PROBLEM, "x")
    assert verdict.parts == {"rule": 1.0, "judge/asked": 0.0}


def test_past_its_share_the_model_grants_nothing():
    both = RuleThenModel(
        rule=says(Outcome.WRONG), model=says(Outcome.CORRECT), max_share=0.3, window=10
    )
    verdicts = [both(PROBLEM, str(i)) for i in range(20)]
    # Three of any ten: as one leaves the window another may come.
    granted = [verdict.reward for verdict in verdicts]
    assert granted == [1.0] * 3 + [0.0] * 7 + [1.0] * 3 + [0.0] * 7
    capped = verdicts[5]
    assert (capped.outcome, capped.parts["judge/capped"]) == (Outcome.WRONG, 1.0)
    assert capped.parts["judge/accepts"] == 1.0


def test_a_share_of_nothing_grants_nothing():
    both = RuleThenModel(rule=says(Outcome.WRONG), model=says(Outcome.CORRECT), max_share=0.0)
    assert both(PROBLEM, "x").reward == 0.0


def test_the_example_is_the_rules_own():
    both = RuleThenModel(rule=Math(), model=says(Outcome.WRONG))
    assert both.example(PROBLEM) == Math().example(PROBLEM)
    assert both.maximum == 1.0
    assert RuleThenModel(rule=says(Outcome.WRONG), model=Math()).example(PROBLEM) is None


@pytest.mark.parametrize(
    "setting",
    [{"mode": "both"}, {"weight": 0.0}, {"weight": 2.0}, {"max_share": 1.5}, {"window": 0}],
)
def test_a_setting_that_makes_no_sense_is_refused(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        RuleThenModel(rule=Math(), model=Math(), **setting)
