"""Each task's rules, on boards that a reader can check, and that a choice was left where promised.

Several solutions count where several exist; where one is promised, all others were tried.
"""

from collections.abc import Iterator
from itertools import combinations, permutations, product
from math import isqrt

import pytest

from rlvr.puzzles import (
    binario,
    campsite,
    hamiltonian_cycle,
    hamiltonian_path,
    hitori,
    light_up,
    magic_square,
    minesweeper,
    skyscraper,
    slant,
    sliding_tiles,
    stack_permutation,
    star_battle,
    tic_tac_toe,
    twiddle,
)
from tests.puzzles.puzzles import made, move_values, solves

SEEDS = range(12)


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("0011\n1100\n0101\n1010", True),
        ("0110\n1001\n0101\n1010", True),
        ("0 0 1 1\n1 1 0 0\n0 1 0 1\n1 0 1 0", True),
        ("1011\n0100\n0101\n1010", False),  # the given 0 was changed
        ("0011\n0011\n1100\n1100", False),  # equal rows
        ("0011\n1101\n0010\n1100", False),  # three ones in a row
        ("0110\n0101\n1010\n1001\n", True),
        ("0110\n0101\n1010\n1011\n", False),  # three ones in a row of four
        ("01\n10", False),
    ],
)
def test_binario(answer: str, right: bool):
    assert binario.verify({"givens": ["0...", "....", "....", "...."]}, answer) is right


# Two trees, and two ways to camp beside them.
GROUND = {"ground": ["...", "T.T", "..."], "rows": [1, 0, 1], "columns": [1, 0, 1]}


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("A..\nT.T\n..A", True),
        ("..A\nT.T\nA..", True),
        ("A.A\nT.T\n...", False),  # two in the first row
        ("A..\n..T\n..A", False),  # a tree was cut
        ("A..\nA.T\n..A", False),
        (".A.\nT.T\n..A", False),
    ],
)
def test_campsite(answer: str, right: bool):
    assert campsite.verify(GROUND, answer) is right


def test_a_tent_between_two_trees_is_the_tent_of_one_of_them_only():
    ground = ["T.T..", ".....", ".....", ".....", "....."]
    data = {"ground": ground, "rows": [1, 0, 1, 0, 0], "columns": [0, 1, 0, 0, 1]}
    assert campsite.verify(data, "TAT..\n.....\n....A\n.....\n.....") is False


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("2 7 6\n9 5 1\n4 3 8", True),
        ("4 3 8\n9 5 1\n2 7 6", True),
        ("2  7\t6\n 9 5 1\n4 3 8", True),
        ("5 5 5\n5 5 5\n5 5 5", False),
        ("1 2 3\n4 5 6\n7 8 9", False),
        ("2 9 4\n7 6 1\n6 1 8", False),
        ("276\n951\n438", False),
        ("2 7 6\n9 5 1\n4 3 \N{FULLWIDTH DIGIT EIGHT}", False),
    ],
)
def test_magic_square(answer: str, right: bool):
    givens = [[None, None, None], [None, 5, None], [None, None, None]]
    data = {"givens": givens, "numbers": [1, 2, 3, 4, 5, 6, 7, 8, 9]}
    assert magic_square.verify(data, answer) is right


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("123\n231\n312", True),
        ("132\n213\n321", False),  # a Latin square seen differently
        ("123\n123\n123", False),
        ("123\n231", False),
    ],
)
def test_skyscraper(answer: str, right: bool):
    views = {"left": [3, 2, 1], "right": [1, 2, 2], "top": [3, 2, 1], "bottom": [1, 2, 2]}
    assert skyscraper.verify({"givens": ["...", "...", "..."], **views}, answer) is right


REGIONS = {"regions": ["AABB", "AABB", "CCDD", "CCDD"]}


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        (".*..\n...*\n*...\n..*.", True),
        ("..*.\n*...\n...*\n.*..", True),
        ("*...\n..*.\n.*..\n...*", False),  # two touch at a corner
        (".*..\n*...\n...*\n..*.", False),
        (".*..\n....\n*...\n..*.", False),
        (".*.*\n....\n*...\n..*.", False),
    ],
)
def test_star_battle(answer: str, right: bool):
    assert star_battle.verify(REGIONS, answer) is right


@pytest.mark.parametrize(
    ("numbers", "answer", "right"),
    [
        ([[1, 1], [2, 3]], "#.\n..", True),
        ([[1, 1], [2, 3]], ".#\n..", True),
        ([[1, 1], [2, 3]], "..\n..", False),
        ([[1, 1], [2, 3]], "##\n..", False),  # neighbours
        ([[1, 1], [2, 1]], "#.\n.#", False),  # what is left is in two parts
        ([[1, 1], [2, 1]], ".#\n..", True),
    ],
)
def test_hitori(numbers: list[list[int]], answer: str, right: bool):
    assert hitori.verify({"numbers": numbers}, answer) is right


@pytest.mark.parametrize(
    ("board", "answer", "right"),
    [
        (["..", ".."], "*.\n.*", True),
        (["..", ".."], ".*\n*.", True),
        (["..", ".."], "*.\n..", False),  # one corner is dark
        (["..", ".."], "**\n..", False),  # they light each other
        (["...", ".#.", "..."], "*..\n.#.\n..*", True),
        (["...", ".1.", "..."], "*..\n.1.\n..*", False),  # no bulb beside the wall
        (["...", ".#.", "..."], "*..\n...\n..*", False),  # a wall was torn down
        (["...", ".#.", "..."], "*..\n.*.\n..*", False),
        (["...", "0..", "..."], "...\n0*.\n*.*", False),
    ],
)
def test_light_up(board: list[str], answer: str, right: bool):
    assert light_up.verify({"board": board}, answer) is right


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("*.\n11", True),
        (".*\n11", True),
        ("**\n11", False),
        ("..\n11", False),
        ("*.\n1.", False),  # a number was covered
        ("*.\n1*", False),
    ],
)
def test_minesweeper(answer: str, right: bool):
    assert minesweeper.verify({"board": ["??", "11"], "mines": 1}, answer) is right


@pytest.mark.parametrize(
    ("clues", "answer", "right"),
    [
        (["..", ".."], "/", True),
        (["..", ".."], "\\", True),
        (["1.", ".1"], "\\", True),
        (["1.", ".1"], "/", False),
        (["...", "...", "..."], "/\\\n\\/", False),  # a loop around the middle
        (["...", ".4.", "..."], "\\/\n/\\", True),
        (["...", "...", "..."], "/ \\\n\\ \\", True),
    ],
)
def test_slant(clues: list[str], answer: str, right: bool):
    assert slant.verify({"clues": clues}, answer) is right


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("1 3", True),  # wins at once
        ("1, 3", True),
        ("(1, 3)", False),
        ("2 3", False),  # only blocks
        ("1 1", False),  # taken
        ("3", False),
        ("1 3 1", False),
        ("4 1", False),
        ("13", False),
    ],
)
def test_tic_tac_toe(answer: str, right: bool):
    assert tic_tac_toe.verify({"board": "XX.OO...."}, answer) is right


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_all_best_moves_count_in_tic_tac_toe_and_no_others(level: int):
    for seed in SEEDS:
        puzzle = made("tic_tac_toe", level, seed)
        values = move_values(puzzle.data["board"])
        side = isqrt(len(puzzle.data["board"]))
        assert len(set(values.values())) > 1
        for move, value in values.items():
            best = value == max(values.values())
            answer = f"{move // side + 1} {move % side + 1}"
            assert solves("tic_tac_toe", puzzle, answer) is best


def test_turned_and_mirrored_boards_are_kin():
    boards = ("X...O....", "..X.O....", "....O.X..", "....O...X")
    assert len({tic_tac_toe._upright(board) for board in boards}) == 1
    assert tic_tac_toe._upright(".X..O....") != tic_tac_toe._upright(boards[0])


SQUARE = {"vertices": 4, "edges": [[1, 2], [2, 3], [3, 4], [4, 1]]}


@pytest.mark.parametrize(
    ("answer", "path", "cycle"),
    [
        ("1 2 3 4", True, True),
        ("2 3 4 1", True, True),
        ("4 3 2 1", True, True),
        ("1, 2, 3, 4", True, True),
        ("1->2->3->4", True, True),
        ("1 3 2 4", False, False),
        ("1 2 3", False, False),
        ("1 2 3 4 1", False, False),
        ("1 2 3 2", False, False),
        ("1 2 3 5", False, False),
    ],
)
def test_hamiltonian(answer: str, path: bool, cycle: bool):
    assert hamiltonian_path.verify(SQUARE, answer) is path
    assert hamiltonian_cycle.verify(SQUARE, answer) is cycle
    without_return = {"vertices": 4, "edges": SQUARE["edges"][:3]}
    assert hamiltonian_cycle.verify(without_return, answer) is False


TILES = {"rows": [[1, 2], [0, 3]], "goal": [[1, 2], [3, 0]], "most": 5}


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("3", True),
        ("3 3 3", True),  # there and back again
        ("3 2 2", True),
        ("3 3", False),
        ("2", False),  # not beside the empty cell
        ("0", False),
        ("3 3 3 3 3 3 3", False),  # too many
        ("", False),
    ],
)
def test_sliding_tiles(answer: str, right: bool):
    assert sliding_tiles.verify(TILES, answer) is right


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("push push pop pop push pop", True),
        ("PUSH, PUSH, POP, POP, PUSH, POP", True),
        ("push pop push pop push pop", False),
        ("pop push push pop push pop", False),
        ("push push pop pop push", False),
        ("push push push pop pop pop", False),
        ("push push pop pop push peek", False),
    ],
)
def test_stack_permutation(answer: str, right: bool):
    data = {"in": ["A", "B", "C"], "out": ["B", "A", "C"]}
    assert stack_permutation.verify(data, answer) is right


TURNED = {"rows": [[3, 1], [4, 2]], "goal": [[1, 2], [3, 4]], "most": 3}


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("11L", True),
        ("11R 11R 11R", True),
        ("11R", False),
        ("11l", False),
        ("12L", False),  # no such block
        ("11L 11R 11L 11R", False),  # too many
        ("", False),
    ],
)
def test_twiddle(answer: str, right: bool):
    assert twiddle.verify(TURNED, answer) is right


def test_a_turn_to_the_right_moves_the_top_left_number_to_the_top_right():
    board = [[1, 2], [4, 3]]
    twiddle._turn(board, 0, 0, "R")
    assert board == [[4, 1], [3, 2]]


def filled(rows: list[str], values: Iterator[str] | tuple[str, ...]) -> str:
    given = iter(values)
    return "\n".join("".join(next(given) if c in ".?" else c for c in row) for row in rows)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_binario_has_one_solution(seed: int):
    puzzle = made("binario", 1, seed)
    givens = puzzle.data["givens"]
    empty = "".join(givens).count(".")
    assert empty >= 5
    boards = (filled(givens, values) for values in product("01", repeat=empty))
    assert sum(binario.verify(puzzle.data, board) for board in boards) == 1


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("level", [1, 2])
def test_minesweeper_leaves_one_way_to_place_the_mines(level: int, seed: int):
    puzzle = made("minesweeper", level, seed)
    board, mines = puzzle.data["board"], puzzle.data["mines"]
    hidden = "".join(board).count("?")
    assert hidden > mines
    found = 0
    for places in combinations(range(hidden), mines):
        marks = tuple("*" if i in places else "." for i in range(hidden))
        found += minesweeper.verify(puzzle.data, filled(board, marks))
    assert found == 1


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("level", [1, 2])
def test_a_star_battle_has_one_solution(level: int, seed: int):
    puzzle = made("star_battle", level, seed)
    side = len(puzzle.data["regions"])
    found = 0
    for stars in permutations(range(side)):
        rows = ("." * c + "*" + "." * (side - c - 1) for c in stars)
        found += star_battle.verify(puzzle.data, "\n".join(rows))
    assert found == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_skyscrapers_have_one_solution(seed: int):
    puzzle = made("skyscraper", 2, seed)
    rows = ["".join(row) for row in permutations("1234")]
    found = 0
    for first, second in permutations(rows, 2):
        if any(a == b for a, b in zip(first, second, strict=True)):
            continue
        for third in rows:
            if any(c in (a, b) for a, b, c in zip(first, second, third, strict=True)):
                continue
            used = zip(first, second, third, strict=True)
            fourth = "".join((set("1234") - set(column)).pop() for column in used)
            found += skyscraper.verify(puzzle.data, "\n".join([first, second, third, fourth]))
    assert found == 1


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_a_magic_square_has_distinct_numbers_and_hidden_cells(level: int):
    puzzle = made("magic_square", level)
    side = len(puzzle.data["givens"])
    assert len(set(puzzle.data["numbers"])) == side * side
    assert sum(row.count(None) for row in puzzle.data["givens"]) == magic_square.EMPTY[level - 1]
