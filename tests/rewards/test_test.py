"""The trial of a reward, ``python -m rlvr.rewards.test``."""

import json
from pathlib import Path

import pytest

from rlvr.rewards.test import main
from rlvr.rewards.trials import made

FAULTY = Path(__file__).parents[1] / "data" / "foreign" / "faulty.py"
QUICK = ("--limit", "3", "--calls", "40", "--seconds", "0.5")


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    lines = [{"question": f"{n}+{n}?", "answer": str(2 * n)} for n in range(31, 35)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def tried(capsys, rows, function, *more):
    code = main([f"{FAULTY}:{function}", rows, *QUICK, *more])
    out = capsys.readouterr().out
    return code, " ".join(out.split())


def test_a_sound_reward_passes_with_its_style_latency_and_layout_said(capsys, rows):
    code, out = tried(capsys, rows, "sound")
    assert code == 0, out
    assert "Nothing found" in out
    assert "style │ native" in out and "QA (prompt: question" in out
    assert "p50" in out and "p99" in out and "MiB after 40 calls" not in out.split("leaks")[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "finding"),
    [
        ("random_one", "verdicts differ a second time in the same process"),
        ("counting", "verdicts differ in two processes at once, one of them from the end"),
        ("by_hash", "verdicts differ in a fresh process with another PYTHONHASHSEED"),
        ("sharing", "verdicts differ from several threads at once"),
        ("dying", "its process died 2 times while it graded"),
        ("raising", "texts made it fail, such as rows/train/0 hard/empty: ZeroDivisionError"),
        ("gullible", "a wrong answer is correct to it 3 times"),
        ("strict", "the reference itself is not correct on 3 of 3 rows under any mark"),
    ],
)
def test_a_fault_is_found_and_named(capsys, rows, function, finding):
    code, out = tried(capsys, rows, function)
    assert code == 1
    assert finding in out


@pytest.mark.slow
def test_a_leak_of_memory_files_and_threads_is_found(capsys, rows):
    _, out = tried(capsys, rows, "keeping", "--calls", "100", "--limit", "1")
    assert "its process grew by" in out
    assert "more files open over the last 50 calls" in out
    assert "more threads running over the last 50 calls" in out


@pytest.mark.slow
def test_a_hang_is_shown_and_takes_nothing_down(capsys, rows):
    code, out = tried(capsys, rows, "hanging")
    assert code == 1
    assert "2 of 52 texts got no verdict in time, such as rows/train/0 hard/empty" in out
    assert "same verdict twice │ 50 of 50" in out


def test_a_reward_of_whole_groups_is_tried_in_whole_groups(capsys, rows):
    code, out = tried(capsys, rows, "generous")
    assert "TRL, whole groups per call" in out
    assert code == 0, out


@pytest.mark.slow
def test_responses_in_the_rows_are_graded_in_place_of_made_ones(capsys, tmp_path):
    path = tmp_path / "rows.jsonl"
    held = [
        {"prompt": "1+1?", "answer": "2", "response": ["#### 2", "#### 3"]},
        {"prompt": "2+2?", "answer": "4", "response": [{"role": "assistant", "content": "#### 4"}]},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in held))
    code, out = tried(capsys, str(path), "sound")
    assert "given │ 2 │ 1" in out and "right/" not in out
    assert code == 0, out


@pytest.mark.slow
def test_responses_come_from_a_file_in_order_or_by_id(capsys, tmp_path, rows):
    answers = tmp_path / "answers.jsonl"
    answers.write_text('{"response": "#### 62"}\n{"response": "#### 64"}\n')
    _, out = tried(capsys, rows, "sound", "--answers", str(answers))
    assert "given │ 2 │" in out
    answers.write_text('{"id": "rows/train/1", "response": "#### 64"}\n' * 2)
    _, out = tried(capsys, rows, "sound", "--answers", str(answers))
    assert "given │ 2 │" in out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nothing.py:score", "ROWS"], "there is no file"),
        ([f"{FAULTY}:sounds", "ROWS"], "did you mean sound?"),
        ([f"{FAULTY}:sound", "none.jsonl"], "there is no file"),
        ([f"{FAULTY}:sound", "ROWS", "--style", "verl"], "are those of native"),
        ([f"{FAULTY}:sound", "ROWS", "--kwargs", "{"], "--kwargs={: not JSON"),
        ([f"{FAULTY}:sound", "ROWS", "--kwargs", "[]"], "an object is expected"),
        ([f"{FAULTY}:sound", "ROWS", "--answers", "ROWS"], "no response in its columns answer,"),
        (["rlvr.rewards.math.Maths", "ROWS"], "did you mean Math"),
    ],
)
def test_what_cannot_be_tried_is_refused(capsys, rows, arguments, complaint):
    assert main([rows if word == "ROWS" else word for word in arguments]) == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.slow
def test_a_plug_in_is_tried_on_what_it_calls_right(capsys, rows):
    code = main(["rlvr.rewards.math.Math", rows, *QUICK, "--kwargs", '{"form": "hashes"}'])
    out = " ".join(capsys.readouterr().out.split())
    assert code == 0, out
    assert "right/its own │ 3" in out


def test_made_texts_hold_the_reference_or_hold_it_nowhere():
    assert all("42" in text for text in made.right("42").values())
    assert not any("42" in text for text in made.wrong("42").values())
    assert made.right("42").keys() == made.wrong("42").keys() == made.MARKS.keys()
    assert not any(made.WRONG in text for text in made.wrong(made.WRONG).values())
    assert len(made.hard()["huge"]) > 10**6
