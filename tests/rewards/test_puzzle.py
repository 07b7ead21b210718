"""Rewards of puzzles: where the answer is looked for, and that only the rules decide."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr.problems.puzzles import Puzzles
from rlvr.rewards.puzzle import Puzzle, last_block
from rlvr.types import Outcome
from tests.conftest import problem

EXTRA = {"task": "hamiltonian_path", "puzzle": '{"vertices": 3, "edges": [[1, 2], [2, 3]]}'}
WAY = problem(answer="1 2 3", extra=EXTRA)
BLOCK = "```\n1 2 3\n```"


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        (BLOCK, "correct"),
        ("```\n3 2 1\n```", "correct"),  # not the reference, and as right
        (f"Try this:\n```\n2 1 3\n```\nNo:\n{BLOCK}\nDone.", "correct"),
        (f"{BLOCK}\nor\n```\n2 1 3\n```", "wrong"),  # the last one counts
        ("```text\n1 2 3\n```", "correct"),
        ("~~~\n1 2 3\n~~~", "correct"),
        ("````\n1 2 3\n````", "correct"),
        ("````\n```\n1 2 3\n```\n````", "wrong"),  # the block shows a block
        ("```1 2 3```", "correct"),
        ("   ```\n1 2 3\n   ```  ", "correct"),
        ("<think>```\n2 1 3\n```</think>" + BLOCK, "correct"),
        ("<answer>1 2 3</answer>", "correct"),
        (r"so \boxed{1 2 3}", "correct"),
        (BLOCK + r" \boxed{2 1 3}", "no_answer"),  # the fence is not closed by that line
        (f"{BLOCK}\n" r"\boxed{2 1 3}", "correct"),  # a block goes before a box
        ("```\n\n```", "wrong"),
        ("1 2 3", "no_answer"),
        ("", "no_answer"),
        ("```\n1 2 3", "no_answer"),  # cut off
        (f"{BLOCK}\nOn second thought:\n```\n2 1", "no_answer"),
        (f"<think>{BLOCK}", "no_answer"),
        (f"<think>{BLOCK}</think> Done.", "no_answer"),
        ("```\n" * 10_001, "no_answer"),
        ("```\n" + "1 " * 10**6 + "\n```", "wrong"),
    ],
)
def test_the_last_finished_block_is_judged(text: str, outcome: str):
    verdict = Puzzle()(WAY, text)
    assert (verdict.outcome, verdict.reward) == (outcome, float(outcome == "correct"))
    assert verdict.verifier == "puzzle@1"


def test_what_was_judged_is_told_and_is_not_long():
    assert Puzzle()(WAY, BLOCK).extracted == "1 2 3"
    assert len(Puzzle()(WAY, "```\n" + "1 " * 10**6 + "\n```").extracted or "") < 1000


def test_a_problem_without_rules_judges_nothing():
    verdict = Puzzle()(problem(answer="1 2 3"), BLOCK)
    assert (verdict.outcome, verdict.reward) == (Outcome.GOLD_UNPARSED, None)
    assert "rlvr.problems.puzzles.Puzzles" in verdict.detail


def test_a_share_is_rewarded_only_where_asked_for(tmp_path, monkeypatch):
    folder = tmp_path / "shares"
    folder.mkdir()
    (folder / "half.py").write_text(
        "def generate(rng, level): ...\ndef verify(data, answer): return 0.5\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    half = problem(extra={"task": "shares.half", "puzzle": "{}"})
    verdicts = [Puzzle(partial=partial)(half, BLOCK) for partial in (False, True)]
    assert [v.reward for v in verdicts] == [0.0, 0.5]
    assert [v.outcome for v in verdicts] == [Outcome.WRONG, Outcome.WRONG]


def test_an_example_is_found_again_whatever_it_holds():
    for answer in ("1 2 3", "/ \\\n\\ /", "a ``` b", "```\nx\n```", "\\boxed{1}"):
        assert last_block(Puzzle().example(problem(answer=answer))) == (answer, False)


def test_equal_keys_are_equal_verdicts():
    reward = Puzzle()
    other = problem(extra={**EXTRA, "puzzle": '{"vertices": 3, "edges": [[1, 3], [2, 3]]}'})
    assert reward.key(WAY, f"One way: {BLOCK}") is None
    assert reward.key(WAY, f"One way:\n{BLOCK}") == reward.key(WAY, BLOCK) is not None
    assert reward.key(WAY, BLOCK) != reward.key(other, BLOCK)
    assert reward.key(WAY, "```\n3 2 1\n```") != reward.key(WAY, BLOCK)
    assert reward.key(WAY, "nothing") is None


EVERY_TASK = Puzzles("train", levels=(1,), size=15).all()


@settings(max_examples=200, deadline=None, database=None)
@given(
    st.sampled_from(EVERY_TASK),
    st.text() | st.text(st.sampled_from("`~\n <>/answerthink\\boxed{}012.*"), max_size=80),
)
def test_any_text_gets_a_graded_verdict(one, text: str):
    reward = Puzzle()
    example = reward.example(replace(one, answer=text))
    for said in (text, f"```\n{text}\n```", f"{one.answer}\n{text}", example):
        assert reward(one, said).outcome.is_graded
