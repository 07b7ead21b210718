import pytest

from rlvr.rewards.grid import Grid
from rlvr.types import Outcome, Problem

GOLD = "[[0, 1], [2, 3]]"


def verdict(gold, answer, **settings):
    problem = Problem(id="p", prompt="", answer=gold)
    return Grid(**settings)(problem, f"<answer>{answer}</answer>")


@pytest.mark.parametrize(
    "answer",
    [GOLD, "[[0,1],[2,3]]", "0 1\n2 3", " 0, 1 \n 2, 3\n", "|0|1|\n|2|3|", f"```\n{GOLD}\n```"],
)
def test_a_grid_may_be_written_in_several_ways(answer):
    assert verdict(GOLD, answer).outcome is Outcome.CORRECT
    assert verdict(answer, GOLD).reward == 1


def test_one_wrong_cell_is_wrong_but_may_count_in_part():
    assert verdict(GOLD, "[[0, 1], [2, 4]]").reward == 0
    assert verdict(GOLD, "[[0, 1], [2, 4]]").parts == {"cells": 0.75}
    assert verdict(GOLD, "[[0, 1], [2, 4]]", partial=True).reward == 0.75
    assert verdict(GOLD, "[[0, 1], [2, 4]]", partial=True).outcome is Outcome.WRONG


@pytest.mark.parametrize(
    "answer", ["[[0, 1]]", "[[0, 1], [2, 3], [4, 5]]", "[[0], [1], [2], [3]]", "[[0, 1, 2, 3]]"]
)
def test_a_grid_of_another_shape_has_no_cell_right(answer):
    assert verdict(GOLD, answer, partial=True).reward == 0


@pytest.mark.parametrize(
    "answer", ["[]", "[[]]", "[0, 1]", "[[true, 1]]", "[[0.5]]", "red", "[[0,"]
)
def test_what_is_no_grid_is_wrong_as_an_answer_and_refused_as_a_reference(answer):
    assert verdict(GOLD, answer).outcome is Outcome.WRONG
    assert verdict(answer, GOLD).outcome is Outcome.GOLD_UNPARSED


def test_two_grids_are_a_hedge():
    text = "\\boxed{[[0]]} or \\boxed{[[1]]}"
    problem = Problem(id="p", prompt="", answer="[[0]]")
    assert Grid(form="box")(problem, text).outcome is Outcome.WRONG


def test_its_own_example_is_accepted():
    reward, problem = Grid(), Problem(id="p", prompt="", answer=GOLD)
    assert reward(problem, reward.example(problem)).reward == reward.maximum


@pytest.mark.parametrize(
    "answer",
    ["1 " * 500_000, "1\n" * 500_000, "[" * 10**6, "1" + " " * 10**6 + "x", "[[1]," * 200_000],
)
def test_a_megabyte_takes_linear_time(answer):
    assert verdict(GOLD, answer).reward == 0
