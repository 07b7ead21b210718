"""Streams of puzzles: split apart, always the same, each with what its verifier needs."""

import json
import pickle
from collections import Counter
from itertools import islice
from typing import Any

import pytest

from rlvr.problems import puzzles as stream
from rlvr.problems.puzzles import Puzzles, ReasoningGym, split_of
from rlvr.puzzles.tasks import TASKS, task
from rlvr.rewards.puzzle import Puzzle
from rlvr.rewards.reasoning_gym import ReasoningGymScore


def test_every_task_is_there_and_every_answer_earns_the_reward():
    problems = Puzzles("train", size=3 * len(TASKS)).all()
    assert Counter(p.source for p in problems) == dict.fromkeys(TASKS, 3)
    reward = Puzzle()
    for problem in problems:
        assert reward(problem, reward.example(problem)).reward == 1.0
        assert problem.extra["level"] in (1, 2, 3)
        data = json.loads(problem.extra["puzzle"])
        assert task(problem.extra["task"]).verify(data, problem.answer) is True


def test_the_splits_share_no_puzzle():
    train = {p.prompt for p in Puzzles("train", tasks=["slant"], levels=(1,), size=300).all()}
    held_out = {p.prompt for p in Puzzles("held_out", tasks=["slant"], levels=(1,), size=300).all()}
    assert len(train) == len(held_out) == 300
    assert not train & held_out
    assert {split_of(prompt) for prompt in train} == {"train"}


def test_turned_boards_of_tic_tac_toe_are_in_one_split():
    kin = {
        split: {p.kin for p in islice(stream.puzzles(split, "tic_tac_toe", 1), 60)}
        for split in ("train", "held_out")
    }
    assert min(map(len, kin.values())) > 10
    assert not kin["train"] & kin["held_out"]


def test_an_id_names_the_same_puzzle_whatever_the_size_and_the_seed():
    few = {p.id: p for p in Puzzles("train", tasks=["hitori", "slant"], size=12, seed=1).all()}
    many = {p.id: p for p in Puzzles("train", tasks=["slant", "hitori"], size=90, seed=2).all()}
    assert len(few) == 12
    assert all(many[name] == problem for name, problem in few.items())


def test_puzzles_are_the_same_in_every_run():
    problem = Puzzles("held_out", tasks=["stack_permutation"], levels=(1,), size=2).all()[1]
    assert problem.id == "puzzles/stack_permutation/held_out/1/00001"
    data = {"in": ["M", "I", "X", "R"], "out": ["M", "I", "R", "X"]}
    assert json.loads(problem.extra["puzzle"]) == data
    assert problem.answer == "push pop push pop push push pop pop"


def test_tasks_and_levels_have_shares():
    problems = Puzzles("train", tasks={"slant": 3, "hitori": 1}, levels=(1, 1, 2), size=24).all()
    shares = Counter((p.source, p.extra["level"]) for p in problems)
    assert shares == {("slant", 1): 12, ("slant", 2): 6, ("hitori", 1): 4, ("hitori", 2): 2}
    assert len(Puzzles("train", tasks=["slant"], levels=(1, 2, 3), size=10)) == 10


def test_the_seed_decides_the_order_and_a_restored_stream_goes_on():
    saved = Puzzles("train", tasks=["slant"], size=20, seed=3)
    other = Puzzles("train", tasks=["slant"], size=20, seed=4)
    assert [p.id for p in islice(other, 20)] != [p.id for p in islice(saved, 20)]
    restored = Puzzles("train", tasks=["slant"], size=20, seed=3)
    restored.load_state_dict(saved.state_dict())
    assert list(islice(restored, 30)) == list(islice(saved, 30))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"split": "test"}, "'test'.*train, held_out"),
        ({"levels": ()}, r"levels=\[\]: name at least one"),
        ({"levels": (1, 6)}, r"levels=\[1, 6\].*from 1 to 5"),
        ({"tasks": ["slent"]}, r"did you mean slant\?"),
        ({"tasks": []}, "name at least one"),
        ({"tasks": "slant"}, r"give a list, such as \[slant\]"),
        ({"tasks": {"slant": 0.0}}, "a weight above 0"),
        ({"tasks": {"slant": float("nan")}}, "a weight above 0"),
        ({"size": 3}, "45 kinds of puzzle cannot each have one"),
        ({"tasks": ["tic_tac_toe"], "levels": (2,), "size": 2000}, "has only .* ask for fewer"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_the_reason(
    settings: dict[str, Any], reason: str
):
    with pytest.raises(ValueError, match=reason):
        Puzzles(**{"split": "train", **settings})


def test_reasoning_gyms_problems_carry_what_their_scorer_needs():
    problems = ReasoningGym("train", datasets=["chain_sum", "countdown", "rubiks_cube"], size=9)
    assert Counter(p.source for p in problems.all()) == dict.fromkeys(
        ("chain_sum", "countdown", "rubiks_cube"), 3
    )
    reward = ReasoningGymScore()
    for problem in pickle.loads(pickle.dumps(problems.all())):
        assert problem.prompt.endswith("between <answer> and </answer>.")
        example = reward.example(problem)
        assert (example is None) == (problem.source == "rubiks_cube")
        if example is not None:
            assert reward(problem, example).reward == 1.0


def test_reasoning_gyms_settings_reach_its_datasets_and_its_splits_share_nothing():
    settings: dict[str, Any] = {"chain_sum": {"min_terms": 5, "max_terms": 5}}
    prompts = {
        split: [p.prompt for p in ReasoningGym(split, datasets=settings, size=50).all()]
        for split in ("train", "held_out")
    }
    assert not set(prompts["train"]) & set(prompts["held_out"])
    few = ReasoningGym("train", datasets=settings, size=5, seed=9).all()
    assert [p.prompt for p in few] == prompts["train"][:5]
    assert all(sum(map(prompt.count, "+-")) >= 4 for prompt in prompts["train"])


def test_reasoning_gyms_refused_and_used_up_datasets_are_told():
    with pytest.raises(ValueError, match="sympy's parser, which executes it"):
        ReasoningGym("train", datasets=["simple_integration"], size=4)
    with pytest.raises(ValueError, match=r"give a list, such as \[chain_sum\]"):
        ReasoningGym("train", datasets="chain_sum", size=4)
    few = {"chain_sum": {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}}
    with pytest.raises(ValueError, match="dataset 'chain_sum' has only"):
        ReasoningGym("train", datasets=few, size=400)
