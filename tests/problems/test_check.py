"""A run's problems are looked over by one command, through the run's own reward."""

import json

import pytest

from rlvr.problems import check
from rlvr.rollout.prompt import OverlongPrompt

REWARD = """
from dataclasses import dataclass
from rlvr.types import Outcome, Verdict

@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    def example(self, problem):
        return None if problem.answer == "none" else problem.answer

    def __call__(self, problem, text):
        right = text.isdigit()
        outcome = Outcome.CORRECT if right else Outcome.WRONG
        return Verdict(outcome=outcome, reward=float(right), extracted=text)

def score(problem, text):
    return 1.0
"""

TRAINING = [
    {"question": "1+1?", "answer": "2"},
    {"question": "1+2?", "answer": "three"},
    {"question": "1+1?", "answer": "2"},
    {"question": "a long one, for this model", "answer": "5"},
]
HELD_OUT = [{"question": "1+1?", "answer": "2"}, {"question": "2+2?", "answer": "4"}]


@pytest.fixture
def command(tmp_path, capsys):
    """Run the command over small files; its exit code and what it wrote."""
    (tmp_path / "whole.py").write_text(REWARD)

    def run(*words, training=TRAINING, held_out=HELD_OUT):
        for name, rows in (("train", training), ("test", held_out)):
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (tmp_path / f"{name}.jsonl").write_text(lines)
        dataset = "rlvr.problems.dataset.Dataset"
        code = check.main(
            [
                "recipe=grpo_tiny",
                "model=nobody/nothing",
                f"problems={{_target_: {dataset}, path: {tmp_path}/train.jsonl}}",
                f"evaluation.problems={{_target_: {dataset}, path: {tmp_path}/test.jsonl}}",
                f"reward._target_='{tmp_path}/whole.py:Whole'",
                f"gold_check.cache={tmp_path}/cache",
                *words,
            ]
        )
        written = capsys.readouterr()
        return code, written.out, written.err

    return run


def test_rejected_references_and_repeated_prompts_are_listed(command):
    code, out, _ = command()
    assert code == 1
    assert "train/train/1: 'three' is wrong (read as 'three')" in out
    assert "training: 1 of 4 references rejected" in out
    assert "training: repeated prompts: train/train/2 of train/train/0" in out
    assert "held out: repeated prompts: test/train/0 of train/train/0" in out
    assert "tokenizer is not on this machine" in out


def test_json_has_all_of_it(command):
    code, out, _ = command("--json")
    training, held_out = json.loads(out)
    assert code == 1
    assert training["rejected"] == [
        {
            "id": "train/train/1",
            "source": "train",
            "reference": "three",
            "outcome": "wrong",
            "reason": "read as 'three'",
        }
    ]
    assert (training["problems"], training["sources"], training["checked"]) == (4, {"train": 4}, 4)
    assert training["duplicates"] == [{"id": "train/train/2", "first": "train/train/0"}]
    assert training["overlong_prompts"] is None
    assert held_out["rejected"] == []


def test_clean_data_exit_with_0(command):
    assert command(training=[{"question": "1+1?", "answer": "2"}], held_out=HELD_OUT[1:])[0] == 0


def test_prompts_too_long_for_the_run_are_listed(command, monkeypatch):
    def render(problem):
        if len(problem.prompt) > 10:
            raise OverlongPrompt("too long")
        return (1,)

    monkeypatch.setattr(check, "_renderer", lambda run: render)
    _, out, _ = command()
    assert "training: prompts too long: train/train/3" in out


def test_prompts_without_text_are_listed(command, monkeypatch):
    rows = [{"question": [{"role": "user", "content": " "}], "answer": "2"}, HELD_OUT[1]]
    _, out, _ = command(training=rows, held_out=HELD_OUT[:1])
    assert "training: prompts without text: train/train/0" in out


def test_a_reward_without_an_example_is_skipped_and_said_so(command, tmp_path):
    code, out, _ = command(f"reward={tmp_path}/whole.py:score")
    assert code == 0
    assert "training: not checked: the reward does not say" in out


@pytest.mark.slow
def test_problems_without_an_example_are_counted(command, tmp_path):
    rows = [{"question": f"{n}?", "answer": answer} for n, answer in enumerate(("none", "2", "no"))]
    _, out, _ = command(training=rows, held_out=rows[:1])
    assert "training: 1 of 2 references rejected (not checked: 1, without an example)" in out
    assert "held out: not checked: 1, without an example" in out
    _, out, _ = command("--json", training=rows)
    assert [(one["checked"], one["not_checked"]) for one in json.loads(out)] == [(2, 1), (2, 0)]
    _, out, _ = command("--json", f"reward={tmp_path}/whole.py:score")
    assert [(one["checked"], one["not_checked"]) for one in json.loads(out)] == [(0, 4), (0, 2)]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["problems.path=/nowhere/x.jsonl"], "there is no"),
        (["gold_check.policy=maybe"], "none of drop, refuse, off"),
        (["gold_check.limit_seconds=0"], "more than 0"),
        (["reward._target_=rlvr.rewards.math.Maths"], "did you mean Math"),
    ],
)
def test_what_cannot_be_used_exits_with_2(command, words, says):
    code, _, err = command(*words)
    assert code == 2
    assert says in err and "Traceback" not in err
