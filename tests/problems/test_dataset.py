import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from rlvr.problems.dataset import Dataset, DatasetError
from rlvr.types import Message

DOZEN = Path(__file__).parents[1] / "data" / "gsm8k_dozen.jsonl"


def write(path: Path, *rows: Any) -> str:
    """Rows as JSON lines; a text is written as it is."""
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def row(number: int, **more: Any) -> dict[str, Any]:
    return {"question": f"{number}+1=", "answer": str(number + 1), **more}


def refusal(path: str, **settings: Any) -> str:
    with pytest.raises(DatasetError) as refused:
        Dataset(path, **settings)
    return str(refused.value)


# Reading


def test_gsm8k_rows_become_problems_with_the_gold_after_the_hashes():
    dataset = Dataset(str(DOZEN), gold_after="#### ")
    first, eighth, last = (dataset.all()[i] for i in (0, 7, 11))
    assert len(dataset.all()) == 12
    assert (first.id, first.source, first.answer) == (
        "gsm8k_dozen/train/0",
        "gsm8k_dozen",
        "46",
    )
    assert first.prompt.startswith("Nadia plants") if isinstance(first.prompt, str) else False
    assert first.extra["answer"].endswith("#### 46")
    assert (eighth.answer, last.answer) == ("1,080", "-3")


def test_the_same_rows_read_alike_from_every_format(tmp_path: Path):
    rows = [row(i, level=i % 3) for i in range(5)]
    write(tmp_path / "sums.jsonl", *rows)
    (tmp_path / "sums.json").write_text(json.dumps(rows))
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "sums.parquet")
    read = [Dataset(str(tmp_path / f"sums.{end}")) for end in ("jsonl", "json", "parquet")]
    assert read[0].all() == read[1].all() == read[2].all()
    assert read[0].all()[4].extra == {"level": 1}


def test_messages_and_columns_inside_of_columns(tmp_path: Path):
    path = write(
        tmp_path / "chat.jsonl",
        {"prompt": [{"role": "user", "content": "1+1?"}], "reward_model": {"ground_truth": 2}},
    )
    (problem,) = Dataset(path, prompt="prompt", answer="reward_model.ground_truth").all()
    assert problem.prompt == (Message(role="user", content="1+1?"),)
    assert problem.answer == "2"


def test_ids_come_from_a_column_or_from_the_place_in_the_file(tmp_path: Path):
    path = write(tmp_path / "a.jsonl", row(0, key="x"), "", row(1, key="y"))
    assert [p.id for p in Dataset(path, id="key").all()] == ["x", "y"]
    named = Dataset(path, source="sums", split="test")
    assert [p.id for p in named.all()] == ["sums/test/0", "sums/test/1"]


def test_the_limit_takes_the_first_rows_and_reads_no_further(tmp_path: Path):
    path = write(tmp_path / "a.jsonl", row(0), row(1), "{broken")
    assert [p.answer for p in Dataset(path, limit=2).all()] == ["1", "2"]


def test_a_dataset_of_the_hub_is_asked_for_its_configuration_and_split(
    monkeypatch: pytest.MonkeyPatch,
):
    def load(path: str, name: str | None, split: str) -> list[dict[str, Any]]:
        assert (path, name, split) == ("openai/gsm8k", "main", "test")
        return [row(0), row(1)]

    monkeypatch.setattr(datasets, "load_dataset", load)
    dataset = Dataset("openai/gsm8k", name="main", split="test")
    assert [p.id for p in dataset.all()] == ["gsm8k/test/0", "gsm8k/test/1"]


def test_a_hub_that_can_not_be_reached_is_refused_with_the_way_around(
    monkeypatch: pytest.MonkeyPatch,
):
    def offline(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    message = refusal("openai/gsm8k", name="main")
    assert "no route to host" in message and "give a local file" in message


# Refusing


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ('{"question": "1+', "not JSON"),
        ("[1, 2]", "got list"),
        ({"question": "1+1="}, "no column 'answer'; it has question"),
        ({"qestion": "1+1=", "answer": "2"}, "did you mean 'qestion'?"),
        ({"question": "  ", "answer": "2"}, "question is empty"),
        ({"question": [], "answer": "2"}, "question is empty"),
        ({"question": 7, "answer": "2"}, "question is int, not a text"),
        ({"question": [{"role": "user"}], "answer": "2"}, "without the texts role and content"),
        ({"question": "1+1=", "answer": ""}, "answer is empty"),
        ({"question": "1+1=", "answer": None}, "answer is empty"),
        ({"question": "1+1=", "answer": ["2", "3"]}, "answer is list"),
        ({"question": "1+1=", "answer": []}, "answer is list"),
        ({"question": "1+1=", "answer": True}, "answer is bool"),
    ],
)
def test_a_bad_row_refuses_the_run_with_its_line_and_reason(tmp_path: Path, bad: Any, reason: str):
    path = write(tmp_path / "a.jsonl", row(0), bad, row(2))
    message = refusal(path)
    assert f"{path}:2: " in message
    assert reason in message
    assert "bad_rows=drop" in message


def test_bad_rows_may_be_dropped_but_are_accounted_for(tmp_path: Path):
    path = write(tmp_path / "a.jsonl", row(0), "{", row(2), {"question": "?"})
    dataset = Dataset(path, bad_rows="drop")
    assert [p.id for p in dataset.all()] == ["a/train/0", "a/train/2"]
    assert [place.split(": ")[0] for place in dataset.dropped] == [f"{path}:2", f"{path}:4"]


def test_a_gold_mark_that_is_not_there_is_named(tmp_path: Path):
    path = write(tmp_path / "a.jsonl", row(0, answer="so #### 1"), row(1, answer="so it is 2"))
    assert "answer has nothing after '####'" in refusal(path, gold_after="####")


def test_the_same_id_twice_is_refused(tmp_path: Path):
    path = write(tmp_path / "a.jsonl", row(0, key="x"), row(1, key="x"))
    message = refusal(path, id="key")
    assert "id 'x' is already taken" in message and f"{path}:2" in message


def test_a_wrong_column_name_says_that_every_row_lacks_it(tmp_path: Path):
    path = write(tmp_path / "a.jsonl", *(row(i) for i in range(9)))
    for bad_rows in ("refuse", "drop"):
        message = refusal(path, prompt="questions", bad_rows=bad_rows)
        assert "every row can't be used" in message
        assert "did you mean 'question'?" in message
        assert "and 4 more" in message


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_file_is_refused(tmp_path: Path, content: str):
    (tmp_path / "a.jsonl").write_text(content)
    assert "it has no row" in refusal(str(tmp_path / "a.jsonl"))


def test_a_missing_file_names_the_nearest(tmp_path: Path):
    write(tmp_path / "train.jsonl", row(0))
    message = refusal(str(tmp_path / "trian.jsonl"))
    assert "there is no file" in message and "train.jsonl?" in message


def test_files_that_are_not_what_their_ending_says(tmp_path: Path):
    (tmp_path / "a.json").write_text('{"question": "one object"}')
    assert "a list of objects" in refusal(str(tmp_path / "a.json"))
    (tmp_path / "b.json").write_text('{"a": 1}\n{"a": 2}\n')
    assert "one object per line is .jsonl" in refusal(str(tmp_path / "b.json"))
    (tmp_path / "c.parquet").write_bytes(b"PAR1")
    assert "not a readable Parquet file" in refusal(str(tmp_path / "c.parquet"))


def test_settings_that_leave_nothing_are_refused(tmp_path: Path):
    path = write(tmp_path / "a.jsonl", row(0))
    assert "limit=0 leaves no problem" in refusal(path, limit=0)
    assert "neither refuse nor drop" in refusal(path, bad_rows="skip")
