"""The made-up arithmetic problems: right, split apart, and always the same."""

from __future__ import annotations

from itertools import islice
from typing import Any, get_args

import pytest

from rlvr.problems.arithmetic import (
    LARGEST,
    SHARE_OF_SPLIT,
    Arithmetic,
    Chain,
    Split,
    Step,
    chains,
    split_of,
)

SPLITS: tuple[Split, ...] = get_args(Split)


def some(level: int, count: int = 300, split: Split = "train") -> list[Chain]:
    return list(islice(chains(split, level), count))


def test_a_chain_reads_as_one_expression_and_solves_line_by_line():
    chain = Chain(
        (
            Step(value=4, operator="*", operand=3),
            Step(value=12, operator="+", operand=5),
            Step(value=17, operator="-", operand=9),
        )
    )
    assert chain.prompt == "4*3+5-9="
    assert chain.answer == "8"
    assert chain.hurried() == r"\boxed{8}"
    assert chain.worked() == "4*3=12\n12+5=17\n17-9=8\n\\boxed{8}"


@pytest.mark.parametrize("level", [1, 2, 3, 5])
def test_the_answer_is_what_the_order_of_operations_gives(level: int):
    for chain in some(level, 100):
        assert eval(chain.prompt.removesuffix("=")) == int(chain.answer)


@pytest.mark.parametrize("level", [2, 5])
def test_every_written_line_is_true_and_stays_in_range(level: int):
    for chain in some(level):
        assert len(chain.steps) == level
        for line in chain.worked().splitlines()[:-1]:
            left, right = line.split("=")
            assert eval(left) == int(right)
            assert 0 <= int(right) <= LARGEST


def test_the_splits_share_no_problem():
    prompts = {split: {c.prompt for c in some(2, 800, split)} for split in SPLITS}
    assert min(map(len, prompts.values())) > 200
    for one in SPLITS:
        for other in SPLITS:
            assert one == other or not prompts[one] & prompts[other]


def test_the_split_is_known_from_the_text_alone():
    assert sum(SHARE_OF_SPLIT.values()) == 100
    for split in SPLITS:
        assert {split_of(chain.prompt) for chain in some(3, split=split)} == {split}


def test_no_problem_comes_twice():
    prompts = [problem.prompt for problem in Arithmetic("train", size=2000).all()]
    assert len(set(prompts)) == 2000


def test_an_id_names_the_same_problem_whatever_the_size_and_the_seed():
    few = {p.id: p for p in Arithmetic("train", size=40, seed=1).all()}
    many = {p.id: p for p in Arithmetic("train", size=400, seed=2).all()}
    assert len(few) == 40
    assert all(many[name] == problem for name, problem in few.items())


def test_problems_are_the_same_in_every_run():
    problem = Arithmetic("held_out", size=8, levels=(2, 3, 4, 5)).all()[-1]
    assert (problem.id, problem.prompt, problem.answer) == (
        "arithmetic/held_out/5/00001",
        "27-1+3-1+1-9=",
        "20",
    )
    assert problem.source == "arithmetic/5"
    assert problem.extra == {"level": 5}


def test_a_level_has_a_share_for_each_time_it_is_named():
    levels = [p.extra["level"] for p in Arithmetic("train", size=10, levels=(2, 3, 4)).all()]
    assert levels == [2] * 4 + [3] * 3 + [4] * 3
    problems = Arithmetic("train", size=8, levels=(2, 2, 3, 2)).all()
    assert [p.extra["level"] for p in problems] == [2] * 6 + [3] * 2
    assert len({p.id for p in problems}) == 8


def test_the_seed_decides_the_order_and_the_stream_never_ends():
    def order(seed: int) -> list[str]:
        return [p.id for p in islice(Arithmetic("train", size=20, seed=seed), 50)]

    assert order(0) == order(0) != order(1)
    assert set(order(0)[:20]) == set(order(0)[20:40])
    assert order(0)[:20] != order(0)[20:40]


def test_a_restored_stream_goes_on_where_the_saved_one_stopped():
    saved = Arithmetic("train", size=20)
    list(islice(saved, 27))
    restored = Arithmetic("train", size=20)
    restored.load_state_dict(saved.state_dict())
    assert list(islice(restored, 40)) == list(islice(saved, 40))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"split": "test"}, "'test'.*warmup, train, held_out"),
        ({"split": "train", "levels": ()}, "at least one level"),
        ({"split": "train", "levels": (0, 1)}, "each at least 1"),
        ({"split": "train", "size": 3}, "at least one problem for each"),
        ({"split": "held_out", "levels": (1,), "size": 500}, "has only .* ask for fewer"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_the_reason(
    settings: dict[str, Any], reason: str
):
    with pytest.raises(ValueError, match=reason):
        Arithmetic(**settings)
