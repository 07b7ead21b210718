import itertools
from math import isclose

import pytest

from rlvr.rewards.ensemble import NaiveBayes, Voter, posterior
from rlvr.rewards.format import Soft
from rlvr.rewards.math import Math
from rlvr.types import Outcome, Problem, Verdict

PROBLEM = Problem(id="p", prompt="", answer="4")
ACCURACIES = [(0.8, 0.9), (0.7, 0.6), (0.6, 0.7)]


class Says:
    """A verifier of a fixed mind."""

    def __init__(self, outcome):
        self.outcome = outcome

    def __call__(self, problem, text):
        reward = float(self.outcome is Outcome.CORRECT) if self.outcome.is_graded else None
        return Verdict(outcome=self.outcome, reward=reward, verifier="says@1")


def voter(outcome, accepts_right=0.8, refuses_wrong=0.9):
    return Voter(reward=Says(outcome), accepts_right=accepts_right, refuses_wrong=refuses_wrong)


def ensemble(*outcomes, prior=0.4, **settings):
    pairs = zip(outcomes, itertools.cycle(ACCURACIES), strict=False)
    voters = {f"v{i}": voter(outcome, *shares) for i, (outcome, shares) in enumerate(pairs)}
    return NaiveBayes(voters=voters, prior=prior, **settings)


def test_the_reward_is_the_probability_by_bayes_rule():
    verdict = ensemble(Outcome.CORRECT, Outcome.WRONG, Outcome.CORRECT)(PROBLEM, "x")
    assert verdict.reward == pytest.approx(0.8421052632)
    assert verdict.outcome is Outcome.CORRECT
    assert verdict.parts == {"v0": 1, "v1": 0, "v2": 1}


@pytest.mark.parametrize("votes", list(itertools.product([True, False], repeat=3)))
def test_the_posterior_is_the_joint_probability_normalised(votes):
    voters = [voter(Outcome.CORRECT, *shares) for shares in ACCURACIES]
    right, wrong = 0.4, 0.6
    for (accepts, refuses), vote in zip(ACCURACIES, votes, strict=True):
        right *= accepts if vote else 1 - accepts
        wrong *= 1 - refuses if vote else refuses
    found = posterior(zip(voters, votes, strict=True), prior=0.4)
    assert isclose(found, right / (right + wrong), rel_tol=1e-12)


def test_many_sure_voters_do_not_overflow():
    voters = [voter(Outcome.CORRECT, 0.999999, 0.999999)] * 500
    assert posterior(((v, True) for v in voters), prior=0.5) == 1.0
    assert posterior(((v, False) for v in voters), prior=0.5) == 0.0


def test_a_voter_that_abstains_has_no_say():
    two = ensemble(Outcome.CORRECT, Outcome.WRONG)(PROBLEM, "x")
    three = ensemble(Outcome.CORRECT, Outcome.WRONG, Outcome.ABSTAIN)(PROBLEM, "x")
    assert three.reward == two.reward
    assert three.parts == two.parts
    nobody = ensemble(Outcome.ABSTAIN, Outcome.ABSTAIN)(PROBLEM, "x")
    assert (nobody.outcome, nobody.reward) == (Outcome.ABSTAIN, None)


@pytest.mark.parametrize("failure", [Outcome.ERROR, Outcome.TIMEOUT, Outcome.GOLD_UNPARSED])
def test_a_voter_that_fails_makes_the_whole_fail(failure):
    verdict = ensemble(Outcome.CORRECT, failure, Outcome.ABSTAIN)(PROBLEM, "x")
    assert (verdict.outcome, verdict.reward) == (failure, None)


def test_a_text_in_which_nobody_finds_an_answer_has_none():
    assert ensemble(Outcome.NO_ANSWER, Outcome.NO_ANSWER)(PROBLEM, "").outcome is Outcome.NO_ANSWER
    assert ensemble(Outcome.NO_ANSWER, Outcome.WRONG)(PROBLEM, "").outcome is Outcome.WRONG


def test_the_example_earns_the_maximum():
    voters = {
        "math": Voter(reward=Math(), accepts_right=0.9, refuses_wrong=0.95),
        "form": Voter(reward=Soft(), accepts_right=0.7, refuses_wrong=0.5),
    }
    reward = NaiveBayes(voters=voters, prior=0.5)
    verdict = reward(PROBLEM, reward.example(PROBLEM))
    assert verdict.outcome is Outcome.CORRECT
    assert verdict.reward == reward.maximum < 1
    assert verdict.extracted == "4"


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: voter(Outcome.CORRECT, 1.0, 0.5), "accepts_right=1.0: a share of exactly 0 or 1"),
        (lambda: voter(Outcome.CORRECT, 0.5, 0.5), "knows no more than a coin"),
        (lambda: NaiveBayes(voters={}, prior=0.5), "voters=.*: give at least one"),
        (lambda: ensemble(Outcome.CORRECT, prior=0.0), "prior=0.0: a probability strictly"),
        (lambda: ensemble(Outcome.CORRECT, threshold=0.99), "threshold=0.99: even if all voters"),
    ],
)
def test_ensembles_that_cannot_work_are_refused(make, complaint):
    with pytest.raises(ValueError, match=complaint):
        make()
