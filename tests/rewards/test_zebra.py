import json
from dataclasses import replace

import pytest

from rlvr.rewards.zebra import Zebra
from rlvr.types import Outcome, Problem

GOLD = json.dumps([["1", "x", "y"], ["2", "z", "w"]])
HEADED = json.dumps({"header": ["House", "Name", "Pet"], "rows": json.loads(GOLD)})


def verdict(gold, rows, **settings):
    text = rows if isinstance(rows, str) else json.dumps(rows)
    problem = Problem(id="p", prompt="", answer=gold)
    return Zebra(**settings)(problem, f"<answer>{text}</answer>")


def test_cell_accuracy_with_and_without_the_index_column():
    rows = [["1", "x", "q"], ["2", "z", "w"]]
    assert verdict(GOLD, rows).reward == pytest.approx(0.8333333333)
    assert verdict(GOLD, rows, index_column=False).reward == pytest.approx(0.75)
    assert verdict(GOLD, rows).parts == {"cells": pytest.approx(5 / 6)}
    assert verdict(GOLD, rows).outcome is Outcome.WRONG
    assert verdict(GOLD, rows, partial=False).reward == 0


@pytest.mark.parametrize(
    "rows",
    [
        [["1", "x", "y"], ["2", "z", "w"]],
        [[1, "X", "y "], [2, "Z", "w"]],
        {"rows": [["1", "x", "y"], ["2", "z", "w"]]},
        {"header": ["House", "Name", "Pet"], "rows": [["1", "x", "y"], ["2", "z", "w"]]},
        {"header": ["House", "Pet", "Name"], "rows": [["1", "y", "x"], ["2", "w", "z"]]},
        "{'header': ['House', 'Name', 'Pet'], 'rows': [['1', 'x', 'y'], ['2', 'z', 'w']]}",
        f"```json\n{GOLD}\n```",
    ],
)
def test_a_table_without_a_mistake_is_correct(rows):
    assert verdict(HEADED, rows).outcome is Outcome.CORRECT
    assert verdict(HEADED, rows).reward == 1


@pytest.mark.parametrize(
    ("rows", "share"),
    [
        ([["1", "x", "y"]], 3 / 6),
        ([["1", "x", "y"], ["2", "z"]], 5 / 6),
        ([["1", "x", "y"], ["2", "z", "w"], ["3", "z", "w"]], 6 / 9),
        ([["1", "x", "y", "q"], ["2", "z", "w"]], 6 / 7),
        ([["2", "z", "w"], ["1", "x", "y"]], 0),
    ],
)
def test_missing_and_superfluous_cells_count_as_wrong(rows, share):
    assert verdict(GOLD, rows).reward == pytest.approx(share)
    assert verdict(GOLD, rows).outcome is Outcome.WRONG


def test_columns_are_paired_by_place_where_headers_do_not_match():
    rows = {"header": ["Nr", "Pet", "Name"], "rows": [["1", "x", "y"], ["2", "z", "w"]]}
    assert verdict(HEADED, rows).reward == 1


@pytest.mark.parametrize("rows", ["no table", "[]", "[[]]", "{}", "[1, 2]", "[[[1]]]", "3", '"x"'])
def test_what_is_no_table_is_wrong_as_an_answer_and_refused_as_a_reference(rows):
    assert verdict(GOLD, rows).outcome is Outcome.WRONG
    assert verdict(GOLD, rows).reward == 0
    assert verdict(rows, json.loads(GOLD)).outcome is Outcome.GOLD_UNPARSED


def test_its_own_example_is_accepted():
    reward, problem = Zebra(), Problem(id="p", prompt="", answer=HEADED)
    assert reward(problem, reward.example(problem)).reward == reward.maximum
    other = replace(problem, answer="-31415926")
    assert reward(problem, reward.example(other)).outcome is Outcome.WRONG


@pytest.mark.parametrize(
    "text",
    [
        "[" * 10**6,
        "[" * 400_000 + "]" * 400_000,
        "[" + '["1", "x"],' * 90_000 + '["1"]]',
        '{"rows": [[' + "1," * 400_000 + "1]]}",
        "[[" + "9" * 10**6 + "]]",
        '{"header":["' + "a" * 10**6 + '"],"rows":[["1"]]}',
    ],
)
def test_a_megabyte_takes_linear_time(text):
    assert verdict(GOLD, text).reward < 0.5
