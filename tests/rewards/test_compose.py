from dataclasses import dataclass, replace

import pytest

from rlvr.rewards.choice import Choice
from rlvr.rewards.compose import Gate, Routed, Sum
from rlvr.rewards.format import Marked, Soft, Strict
from rlvr.rewards.math import Math
from rlvr.rewards.porting.ported import RewardSpecError, load
from rlvr.rewards.span import Span
from rlvr.types import Outcome, Problem, Verdict

PROBLEM = Problem(id="p", prompt="", answer="4", source="numbers")
TAGGED = "<think>two and two</think><answer>{}</answer>"
RIGHT, WRONG = TAGGED.format("4"), TAGGED.format("5")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """Always the same verdict, with or without a key."""

    outcome: Outcome = Outcome.CORRECT
    reward: float | None = 1.0

    def __call__(self, problem, text):
        return Verdict(
            outcome=self.outcome, reward=self.reward, detail="as told", verifier="fixed@1"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Judges the whole text, and says what its verdict rests on."""

    maximum: float = 1.0

    def example(self, problem):
        return problem.answer

    def key(self, problem, text):
        return text.strip()

    def __call__(self, problem, text):
        right = text.strip() == problem.answer
        outcome = Outcome.CORRECT if right else Outcome.WRONG
        return Verdict(outcome=outcome, reward=float(right), verifier="words@1")


FAILURES = [Outcome.ERROR, Outcome.TIMEOUT, Outcome.GOLD_UNPARSED, Outcome.ABSTAIN]


def broken(outcome):
    return Fixed(outcome=outcome, reward=None)


def total(**changes):
    given = {
        "rewards": {"math": Math(form="answer_tag"), "format": Strict()},
        "weights": {"math": 0.9, "format": 0.1},
        "decides": "math",
    }
    return Sum(**(given | changes))


@pytest.mark.parametrize(
    ("text", "reward", "outcome", "parts"),
    [
        (RIGHT, 1.0, Outcome.CORRECT, {"math": 1, "format": 1}),
        (WRONG, 0.1, Outcome.WRONG, {"math": 0, "format": 1}),
        ("<answer>4</answer>", 0.9, Outcome.CORRECT, {"math": 1, "format": 0}),
        ("4", 0.0, Outcome.NO_ANSWER, {"math": 0, "format": 0}),
    ],
)
def test_a_sum_weighs_its_parts_and_one_of_them_decides(text, reward, outcome, parts):
    verdict = total()(PROBLEM, text)
    assert verdict.reward == pytest.approx(reward)
    assert verdict.outcome is outcome
    assert verdict.parts == parts


@pytest.mark.parametrize(
    ("text", "reward", "outcome", "parts"),
    [
        (RIGHT, 1, Outcome.CORRECT, {"gate": 1, "answer": 1}),
        (WRONG, 0, Outcome.WRONG, {"gate": 1, "answer": 0}),
        ("<answer>4</answer>", 0, Outcome.WRONG, {"gate": 0, "answer": 1}),
        ("4", 0, Outcome.NO_ANSWER, {"gate": 0, "answer": 0}),
    ],
)
def test_a_gate_gives_no_credit_without_the_form(text, reward, outcome, parts):
    verdict = Gate(gate=Strict(), answer=Math(form="answer_tag"))(PROBLEM, text)
    assert (verdict.reward, verdict.outcome, verdict.parts) == (reward, outcome, parts)


def test_a_closed_gate_may_cost_and_says_why():
    gate = Gate(gate=Strict(), answer=Math(form="answer_tag"), closed=-1.0)
    verdict = gate(PROBLEM, "<answer>4</answer>")
    assert verdict.reward == -1
    assert verdict.detail.startswith("gate closed: not <think>")
    assert gate(PROBLEM, WRONG).reward == 0


def test_a_gate_opens_for_the_whole_form_only():
    text = "<think>a</think>\\boxed{4}"
    assert Gate(gate=Soft(), answer=Math())(PROBLEM, text).reward == 0
    assert Gate(gate=Marked(), answer=Math())(PROBLEM, text).reward == 1


def test_problems_are_routed_by_their_source():
    routed = Routed(
        rewards={"math": Math(), "choice": Choice()},
        routes={"quiz": "choice"},
        default="math",
    )
    quiz = Problem(id="q", prompt="", answer="B", source="quiz")
    assert routed(quiz, "The answer is (B)").parts == {"choice": 1}
    assert routed(PROBLEM, "The answer is 4").outcome is Outcome.NO_ANSWER
    assert routed(PROBLEM, "\\boxed{4}").verifier.startswith("math@")
    assert routed.routes == {"quiz": "choice", "*": "math"}
    assert replace(routed, default="math").routes == routed.routes
    assert routed.maximum == 1


def test_a_source_without_a_route_is_refused_by_name():
    routed = Routed(rewards={"choice": Choice()}, routes={"quiz": "choice"})
    with pytest.raises(LookupError, match="'p' has source='numbers', and routes know only 'quiz'"):
        routed(PROBLEM, "\\boxed{4}")
    assert routed.key(PROBLEM, "\\boxed{4}") is None
    with pytest.raises(LookupError, match="source='numbers'"):
        routed.example(PROBLEM)


@pytest.mark.parametrize("outcome", FAILURES)
def test_the_failure_of_a_part_is_the_failure_of_the_whole(outcome):
    weights = {"math": 1, "judge": 1}
    parts = {"math": Math(form="answer_tag"), "judge": broken(outcome)}
    wholes = [
        Sum(rewards=parts, weights=weights, decides="math"),
        Gate(gate=broken(outcome), answer=Math()),
        Gate(gate=Strict(), answer=broken(outcome)),
        Routed(rewards={"judge": broken(outcome)}, default="judge"),
    ]
    for whole in wholes:
        for text in (RIGHT, "4"):
            verdict = whole(PROBLEM, text)
            assert (verdict.outcome, verdict.reward) == (outcome, None)
            assert "as told" in verdict.detail
            assert verdict.verifier == "fixed@1"


def test_of_several_failures_the_graver_is_told():
    parts = {"a": broken(Outcome.ABSTAIN), "b": broken(Outcome.ERROR), "c": Fixed()}
    verdict = Sum(rewards=parts, weights=dict.fromkeys(parts, 1), decides="c")(PROBLEM, "")
    assert verdict.outcome is Outcome.ERROR
    assert verdict.detail == "b: as told"


def test_what_parts_log_themselves_stands_under_their_name():
    inner = Gate(gate=Strict(), answer=Math(form="answer_tag"))
    outer = Sum(
        rewards={"task": inner, "soft": Soft()}, weights={"task": 1, "soft": 0.5}, decides="task"
    )
    verdict = outer(PROBLEM, RIGHT)
    assert verdict.reward == outer.maximum == 1.5
    assert verdict.parts == {"task": 1, "soft": 1, "task/gate": 1, "task/answer": 1}


@pytest.mark.parametrize(
    "whole",
    [
        total(),
        total(rewards={"math": Math(), "format": Soft()}),
        total(weights={"math": 1 / 3, "format": 0.1}),
        Gate(gate=Strict(once=True), answer=Math(form="answer_tag")),
        Gate(gate=Strict(), answer=Math(right=2.0)),
        Gate(gate=Strict(), answer=total()),
        Routed(rewards={"a": Math(), "b": Choice()}, default="a"),
    ],
)
def test_the_example_of_a_whole_earns_its_maximum(whole):
    verdict = whole(PROBLEM, whole.example(PROBLEM))
    assert verdict.outcome is Outcome.CORRECT
    assert verdict.reward == whole.maximum
    other = replace(PROBLEM, answer="-31415926")
    assert whole(PROBLEM, whole.example(other)).outcome is not Outcome.CORRECT


def test_the_example_is_that_of_the_reward_that_judges():
    routed = Routed(rewards={"a": Math(), "b": Span()}, routes={"x": "a"}, default="b")
    for problem in (PROBLEM, replace(PROBLEM, source="x")):
        gate = Gate(gate=Strict(), answer=routed)
        assert routed(problem, routed.example(problem)).reward == 1
        assert gate(problem, gate.example(problem)).reward == 1
    assert routed.example(problem) == Math().example(problem)


def test_a_whole_says_nothing_of_what_its_parts_do_not_say():
    unknown = total(rewards={"math": Fixed(), "format": Strict()})
    assert (unknown.maximum, unknown.example(PROBLEM)) == (None, None)
    assert unknown.key(PROBLEM, "") is None
    silent = Routed(rewards={"math": Math(right=2.0), "fixed": Fixed()}, default="fixed")
    assert (silent.maximum, silent.example(PROBLEM)) == (None, None)
    assert Gate(gate=Fixed(), answer=Math()).example(PROBLEM) is None
    disagree = total(rewards={"math": Math(), "format": Span()})
    assert disagree.example(PROBLEM) is None


def test_a_key_holds_all_that_the_verdict_rests_on():
    gate = Gate(gate=Strict(), answer=Words())
    texts = ["4", " 4 ", "5", RIGHT, "<think>4"]
    for a in texts:
        for b in texts:
            if gate.key(PROBLEM, a) == gate.key(PROBLEM, b):
                assert gate(PROBLEM, a) == gate(PROBLEM, b)
    assert gate.key(PROBLEM, "4") == gate.key(PROBLEM, " 4 ")
    assert gate.key(PROBLEM, "4") != gate.key(PROBLEM, "5")


def test_equal_keys_of_different_routes_differ():
    routed = Routed(rewards={"a": Words(), "b": Words()}, routes={"x": "a"}, default="b")
    other = Problem(id="q", prompt="", answer="4", source="x")
    assert routed.key(PROBLEM, "4") != routed.key(other, "4")
    nested = Gate(gate=Marked(), answer=routed)
    assert nested.routes == {"x": "a", "*": "b"}
    assert total(rewards={"math": nested, "format": Strict()}).routes == nested.routes


def test_a_whole_is_built_from_nested_nodes(tmp_path):
    (tmp_path / "mine.py").write_text("def score(problem, text):\n    return len(text) < 99\n")
    loaded = load(
        {
            "_target_": "rlvr.rewards.compose.Sum",
            "rewards": {
                "task": {
                    "_target_": "rlvr.rewards.compose.Gate",
                    "gate": {"_target_": "rlvr.rewards.format.Strict"},
                    "answer": {"_target_": "rlvr.rewards.math.Math", "form": "answer_tag"},
                },
                "short": {
                    "_target_": "rlvr.rewards.porting.ported.load",
                    "spec": f"{tmp_path}/mine.py:score",
                },
            },
            "weights": {"task": 1, "short": 0.5},
            "decides": "task",
        }
    )
    verdict = loaded(PROBLEM, RIGHT)
    assert verdict.reward == 1.5
    assert verdict.parts["short"] == 1


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: total(rewards={}), "rewards=.*: give at least one reward"),
        (lambda: total(rewards=[Math()]), "rewards=.*: give at least one reward"),
        (lambda: total(weights={"math": 1}), "weights of .'math'. for rewards .'format', 'math'."),
        (lambda: total(weights={"math": 1, "format": 0}), "weights.format=0: .* above 0"),
        (lambda: total(weights={"math": 1, "format": float("inf")}), "weights.format=inf"),
        (lambda: total(decides="both"), "decides='both' is no reward; take one of math, format"),
        (lambda: total(rewards={"math": {"form": "box"}, "format": Soft()}), "is no reward; write"),
        (lambda: Routed(rewards={"a/b": Math()}, default="a/b"), "take a name without one"),
        (lambda: Routed(rewards={"a": Math()}), "leads nowhere"),
        (lambda: Routed(rewards={"a": Math()}, default="b"), "default='b' is no reward"),
        (lambda: Routed(rewards={"a": Math()}, routes={"x": "b"}), "routes.x='b' is no reward"),
        (lambda: Routed(rewards={"a": Math()}, routes={"*": "a"}), "routes.[*]='a': .* in default"),
        (lambda: Gate(gate=Strict(), answer=Math(), closed=1.0), "closed=1.0: a closed gate"),
    ],
)
def test_compositions_that_cannot_work_are_refused(make, complaint):
    with pytest.raises(ValueError, match=complaint):
        make()


def test_a_wrong_setting_inside_a_composition_is_told_by_name():
    node = {
        "_target_": "rlvr.rewards.compose.Gate",
        "gate": {"_target_": "rlvr.rewards.format.Strict", "onse": True},
        "answer": {"_target_": "rlvr.rewards.math.Math"},
    }
    with pytest.raises(RewardSpecError, match="takes no argument 'onse'; did you mean once"):
        load(node)
