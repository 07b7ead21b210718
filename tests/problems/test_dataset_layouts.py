"""Rows as other frameworks write them, read without saying which columns they have."""

import json
from pathlib import Path
from typing import Any

import pytest

from rlvr.problems.dataset import Dataset, DatasetError
from rlvr.problems.layouts import last_box
from rlvr.types import Message, Problem


def dataset(tmp_path: Path, *rows: Any, **settings: Any) -> Dataset:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Dataset(str(path), **settings)


def only(tmp_path: Path, row: Any, **settings: Any) -> tuple[Problem, str]:
    read = dataset(tmp_path, row, **settings)
    (problem,) = read.all()
    return problem, read.layout


def verl(index: Any, truth: Any = "2", **extra: Any) -> dict[str, Any]:
    return {
        "data_source": "sums/easy",
        "prompt": [{"role": "user", "content": "1+1?"}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": truth},
        "extra_info": {"index": index, "split": "test", **extra},
    }


CHAT = [{"role": "user", "content": "1+1?"}]


@pytest.mark.parametrize(
    ("row", "layout"),
    [
        ({"question": "1+1?", "answer": "2"}, "QA"),
        ({"question": "1+1?", "answer": "1 and 1.\n#### 2"}, "GSM8K"),
        ({"problem": "1+1?", "answer": "2"}, "DeepScaleR"),
        ({"problem": "1+1?", "solution": "Add: \\boxed{2}", "answer": "2"}, "DeepScaleR"),
        ({"problem": "1+1?", "solution": "\\boxed{1}? No: $\\boxed{2}$."}, "MATH"),
        ({"question": "1+1?", "solution": ["Add."], "final_answer": ["2"]}, "OlympiadBench"),
        ({"prompt": "1+1?", "solution": "2"}, "TRL"),
        ({"prompt": "1+1?", "answer": 2}, "TRL"),
        ({"prompt": CHAT, "ground_truth": "2"}, "TRL"),
        ({"prompt": "1+1?", "label": "2"}, "OpenRLHF"),
        ({"input": "1+1?", "label": "2"}, "OpenRLHF"),
        ({"messages": CHAT, "ground_truth": "2", "dataset": "math"}, "open-instruct"),
        ({"prompt": CHAT, "ground_truth": ["2"], "dataset": ["math"]}, "open-instruct"),
        (verl(0), "verl"),
    ],
)
def test_a_layout_is_told_from_the_columns(tmp_path: Path, row: Any, layout: str):
    problem, told = only(tmp_path, row)
    text = problem.prompt if isinstance(problem.prompt, str) else problem.prompt[0].content
    assert (text, problem.answer) == ("1+1?", "2")
    assert told.startswith(f"{layout} (prompt: ")


def test_verls_rows_bring_their_source_and_their_number(tmp_path: Path):
    read = dataset(tmp_path, verl(7), verl(3))
    assert [p.id for p in read.all()] == ["sums/easy/test/7", "sums/easy/test/3"]
    first = read.all()[0]
    assert first.source == "sums/easy"
    assert first.prompt == (Message(role="user", content="1+1?"),)
    assert first.extra["extra_info"] == {"index": 7, "split": "test"}
    assert first.extra["reward_model"]["ground_truth"] == "2"
    assert read.layout == "verl (prompt: prompt, reference: reward_model.ground_truth)"


def test_numbers_that_repeat_or_are_missing_name_no_problem(tmp_path: Path):
    repeated = dataset(tmp_path, verl(7), verl(7))
    assert [p.id for p in repeated.all()] == ["sums/easy/train/0", "sums/easy/train/1"]
    lacking = verl(8)
    del lacking["extra_info"]["index"]
    assert dataset(tmp_path, verl(7), lacking).all()[0].id == "sums/easy/train/0"
    assert dataset(tmp_path, verl(7), verl(None)).all()[0].id == "sums/easy/train/0"


def test_the_same_number_in_two_splits_or_sources_is_two_problems(tmp_path: Path):
    other = verl(7) | {"data_source": "sums/hard"}
    read = dataset(tmp_path, verl(7), verl(7, split="train"), other)
    assert [p.id for p in read.all()] == [
        "sums/easy/test/7",
        "sums/easy/train/7",
        "sums/hard/test/7",
    ]


def test_a_reference_with_a_structure_is_kept_as_json_where_its_layout_has_such(tmp_path: Path):
    problem, _ = only(tmp_path, verl(0, truth={"target": ["2", "zwei"]}))
    assert json.loads(problem.answer) == {"target": ["2", "zwei"]}
    with pytest.raises(DatasetError, match="answer is list, not a text"):
        dataset(tmp_path, {"problem": "1+1?", "answer": ["2", "3"]})


def test_a_conversation_is_asked_without_the_reply_that_it_ends_in(tmp_path: Path):
    turns = [
        {"role": "system", "content": "Add."},
        {"role": "user", "content": "1+1?"},
        {"role": "assistant", "content": "2"},
    ]
    row = {"messages": turns, "ground_truth": "2", "dataset": "math"}
    problem, _ = only(tmp_path, row)
    assert [m.role for m in problem.prompt if isinstance(m, Message)] == ["system", "user"]
    assert problem.source == "math"
    row["messages"] = turns[2:]
    with pytest.raises(DatasetError, match="no turn before the assistant's"):
        dataset(tmp_path, row)


def test_columns_that_are_named_win(tmp_path: Path):
    row = {"question": "1+1?", "answer": "2", "problem": "2+2?", "final_answer": "4"}
    problem, told = only(tmp_path, row, prompt="problem", answer="final_answer")
    assert (problem.prompt, problem.answer) == ("2+2?", "4")
    assert told == "named columns (prompt: problem, reference: final_answer)"
    problem, _ = only(tmp_path, {"task": "3+3?", "answer": "#### 6"}, prompt="task")
    assert (problem.prompt, problem.answer) == ("3+3?", "6")
    problem, _ = only(tmp_path, {"question": "3+3?", "gold": "#### 6"}, answer="gold")
    assert (problem.prompt, problem.answer) == ("3+3?", "#### 6")
    row = verl(5)
    assert only(tmp_path, row, source="mine", id="ability")[0].id == "math"


def test_hashes_are_followed_only_where_every_row_has_them(tmp_path: Path):
    rows = [{"question": f"{i}?", "answer": f"so #### {i}"} for i in range(4)]
    assert [p.answer for p in dataset(tmp_path, *rows).all()] == ["0", "1", "2", "3"]
    mixed = dataset(tmp_path, *rows, {"question": "?", "answer": "4"})
    assert mixed.layout.startswith("QA") and mixed.all()[0].answer == "so #### 0"


def test_columns_that_say_the_same_are_not_ambiguous_and_others_are(tmp_path: Path):
    same = {"question": "1+1?", "problem": "1+1?", "answer": "2"}
    assert only(tmp_path, same)[0].prompt == "1+1?"
    with pytest.raises(DatasetError) as refused:
        dataset(tmp_path, same | {"problem": "Please: 1+1?"})
    message = str(refused.value)
    assert "columns (answer, problem, question) can be read in several ways" in message
    assert "prompt=question answer=answer; or prompt=problem answer=answer" in message
    labels = {"prompt": "1+1?", "answer": "Two, as one and one are two.", "label": "2"}
    with pytest.raises(DatasetError, match="prompt=prompt answer=label"):
        dataset(tmp_path, labels)


def test_an_unknown_layout_is_refused_with_its_columns_and_what_is_known(tmp_path: Path):
    with pytest.raises(DatasetError) as refused:
        dataset(tmp_path, {"frage": "1+1?", "antwort": "2"})
    message = str(refused.value)
    assert "its columns (antwort, frage) follow no known layout" in message
    assert "prompt=..., answer=..." in message and "verl (prompt: prompt" in message


def test_what_a_column_held_stays_readable_where_the_reference_is_a_part_of_it(tmp_path: Path):
    problem, _ = only(tmp_path, {"prompt": "1+1?", "answer": 2})
    assert problem.extra == {"answer": 2}
    problem, _ = only(tmp_path, {"prompt": "1+1?", "solution": "2"})
    assert problem.extra == {"solution": "2"}
    problem, _ = only(tmp_path, {"prompt": "1+1?", "answer": "2"})
    assert problem.extra == {}


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("\\boxed{1} \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}"),
        ("\\boxed{1} \\boxed{2", None),
        ("\\boxed{}", ""),
        ("2", None),
        ("", None),
    ],
)
def test_the_last_box_is_read_to_its_own_brace(text: str, inside: str | None):
    assert last_box(text) == inside
