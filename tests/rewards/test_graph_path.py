import pytest

from rlvr.rewards.graph_path import GraphPath
from rlvr.types import Outcome, Problem


def outcome(gold, answer):
    problem = Problem(id="p", prompt="", answer=gold)
    return GraphPath()(problem, f"<answer>{answer}</answer>").outcome


@pytest.mark.parametrize(
    "answer",
    [
        "ACE",
        " A C E ",
        "A -> C -> E",
        "A->C->E.",
        "A \u2192 C \u2192 E",
        "A, C, E",
        '["A", "C", "E"]',
        "A-C-E",
        "$A \\to C \\to E$",
        "$A \\rightarrow C \\rightarrow E$",
    ],
)
def test_a_path_may_be_written_in_several_ways(answer):
    assert outcome("ACE", answer) is Outcome.CORRECT
    assert outcome(answer, "ACE") is Outcome.CORRECT


@pytest.mark.parametrize(
    "answer", ["AEC", "AC", "ACEE", "ace", "A to C to E", "path ACE", "A1C", ""]
)
def test_another_path_is_wrong(answer):
    assert outcome("ACE", answer) in (Outcome.WRONG, Outcome.NO_ANSWER)


def test_a_reference_that_is_no_path_judges_nothing():
    assert outcome("3", "ACE") is Outcome.GOLD_UNPARSED
    assert outcome("", "ACE") is Outcome.GOLD_UNPARSED


def test_its_own_example_is_accepted():
    reward, problem = GraphPath(), Problem(id="p", prompt="", answer="ACE")
    assert reward(problem, reward.example(problem)).reward == reward.maximum


@pytest.mark.parametrize("answer", ["A->" * 300_000, "-" * 10**6, "A" * 10**6, "\\right" * 150_000])
def test_a_megabyte_takes_linear_time(answer):
    assert outcome("ACE", answer) is Outcome.WRONG
