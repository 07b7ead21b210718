"""What holds for every puzzle task: it can be solved, and only its rules decide."""

import hashlib
import json
import random
import subprocess
import sys
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr.puzzles.base import LEVELS, MAX_ANSWER
from rlvr.puzzles.tasks import TASKS, task
from tests.puzzles.puzzles import made, solves, spoiled

EVERY = pytest.mark.parametrize("name", TASKS)

HOSTILE = {
    "nothing": "",
    "blanks": " \n\t " * 50,
    "a megabyte of one digit": "1" * 2**20,
    "a megabyte of cells": "1 " * 2**19,
    "a megabyte of lines": "\n" * 2**20,
    "a megabyte of fences": "```\n" * 2**18,
    "digits of other scripts": "\N{ARABIC-INDIC DIGIT ONE} \N{FULLWIDTH DIGIT TWO} ³ ½",
    "a null byte": "1\x00 2",
    "half a character": "\ud800",
    "code": "__import__('os').abort()",
    "a huge number": "9" * 3999,
    "a power": "9**9**9",
    "negative numbers": "-1 -1",
    "row zero": "0 0",
    "a table": "| 1 | 2 |\n|---|---|\n| 3 | 4 |",
}


def check_solved_and_spoiled(name: str, level: int, seed: int) -> None:
    puzzle = made(name, level, seed)
    assert solves(name, puzzle, puzzle.answer) is True
    assert len(puzzle.answer) < MAX_ANSWER
    for answer in islice(spoiled(name, puzzle), 4):
        assert solves(name, puzzle, answer) is False, (puzzle.prompt, answer)


@EVERY
@pytest.mark.parametrize("level", [1, 2])
def test_every_puzzle_is_solved_by_its_answer_and_not_by_a_spoiled_one(name: str, level: int):
    for seed in range(200):
        check_solved_and_spoiled(name, level, seed)


@pytest.mark.slow
@EVERY
@pytest.mark.parametrize("level", [3, 4, 5])
def test_every_hard_puzzle_is_solved_by_its_answer_and_not_by_a_spoiled_one(name: str, level: int):
    for seed in range(200):
        check_solved_and_spoiled(name, level, seed)


@EVERY
def test_any_single_change_of_the_solution_is_noticed(name: str):
    for level in LEVELS:
        puzzle = made(name, level)
        answers = list(spoiled(name, puzzle))
        assert answers
        for answer in answers:
            assert solves(name, puzzle, answer) is False, (puzzle.prompt, answer)


@EVERY
def test_the_puzzle_as_it_is_shown_is_no_solution(name: str):
    for level in LEVELS:
        puzzle = made(name, level)
        for shown in puzzle.prompt.split("```")[1::2]:
            assert solves(name, puzzle, shown) is False


@EVERY
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_text_solves_nothing(name: str, text: str):
    puzzle = made(name, 2)
    assert solves(name, puzzle, text) is False


@EVERY
@settings(max_examples=40, deadline=None, database=None)
@given(data=st.data())
def test_any_text_gets_a_verdict(name: str, data: st.DataObject):
    level = data.draw(st.sampled_from([1, 2, 3]))
    puzzle = made(name, level)
    symbols = sorted(set(puzzle.answer) | set("0 1\n.*#T/x-\u0661\uff11\ud800"))
    text = data.draw(st.text() | st.text(st.sampled_from(symbols), max_size=120))
    assert isinstance(solves(name, puzzle, text), bool)
    place = data.draw(st.integers(0, len(puzzle.answer)))
    inserted = puzzle.answer[:place] + text + puzzle.answer[place:]
    assert isinstance(solves(name, puzzle, inserted), bool)


@EVERY
def test_a_row_or_a_move_too_many_is_no_solution(name: str):
    puzzle = made(name, 2)
    last = puzzle.answer.splitlines()[-1].split()[-1]
    assert solves(name, puzzle, f"{puzzle.answer} {last}") is False
    assert solves(name, puzzle, f"{puzzle.answer}\n{puzzle.answer}") is False


@EVERY
def test_blank_lines_and_spaces_around_the_solution_do_not_matter(name: str):
    puzzle = made(name, 2)
    loose = "\n\n".join(f"  {line}  " for line in puzzle.answer.splitlines())
    assert solves(name, puzzle, f"\n{loose}\r\n\n") is True


@EVERY
def test_what_the_rules_need_survives_json(name: str):
    puzzle = made(name, 3)
    assert json.loads(json.dumps(puzzle.data)) == puzzle.data


@EVERY
def test_the_prompt_shows_a_board_and_the_way_to_answer(name: str):
    puzzle = made(name, 1)
    assert puzzle.prompt.count("```") % 2 == 1  # the board's fences, and those that are spoken of
    assert "end with your answer in a fenced code block" in puzzle.prompt


@EVERY
@pytest.mark.parametrize("level", [0, 6, -1])
def test_a_level_that_does_not_exist_is_refused(name: str, level: int):
    with pytest.raises(ValueError, match=rf"level={level}: .* 1 to 5"):
        task(name).generate(random.Random(0), level)


DIGEST = """
import hashlib
from tests.puzzles.puzzles import made
from rlvr.puzzles.tasks import TASKS
shown = [repr(made(name, level, 7)) for name in TASKS for level in (1, 3, 4)]
print(hashlib.sha256("".join(shown).encode()).hexdigest())
"""


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_puzzles_follow_from_the_seed_alone_in_every_process(hash_seed: str):
    shown = [repr(made(name, level, 7)) for name in TASKS for level in (1, 3, 4)]
    other = subprocess.run(
        [sys.executable, "-c", DIGEST],
        env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert other.stdout.strip() == hashlib.sha256("".join(shown).encode()).hexdigest()


def test_a_task_of_ones_own_is_named_by_its_module(tmp_path, monkeypatch):
    (tmp_path / "own_puzzles.py").write_text(
        "from rlvr.puzzles.base import Puzzle\n"
        "def generate(rng, level): return Puzzle(prompt=f'{rng.random()}', answer='1', data={})\n"
        "def verify(data, answer): return answer == '1'\n"
    )
    (tmp_path / "half_puzzles.py").write_text("def generate(rng, level): ...\n")
    (tmp_path / "holder").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "holder" / "own.py").write_text((tmp_path / "own_puzzles.py").read_text())
    (tmp_path / "holder" / "half.py").write_text((tmp_path / "half_puzzles.py").read_text())
    assert task("holder.own").verify({}, "1") is True
    with pytest.raises(ValueError, match="has no verify"):
        task("holder.half")
    with pytest.raises(ValueError, match=r"holder\.none.*cannot be imported"):
        task("holder.none")


def test_an_unknown_task_names_the_nearest():
    with pytest.raises(ValueError, match=r"'binaro': .* did you mean binario\?"):
        task("binaro")
