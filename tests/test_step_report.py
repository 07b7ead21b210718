import logging
from dataclasses import replace

import pytest

from rlvr.metrics import Window, describe
from rlvr.step_report import GraderFailing, Verdicts
from rlvr.types import GradedGroup, Outcome, Verdict
from tests.conftest import graded, problem


def failed(outcome, detail="", id="p/0"):
    bad = Verdict(outcome=Outcome(outcome), reward=None, detail=detail)
    return GradedGroup(problem=problem(id), rollouts_G=(), verdicts_G=(), ungraded=(bad,))


def verdicts(*groups, rate=0.1, per_step=1000, window=None):
    counted = Verdicts(max_failure_rate=rate, per_step=per_step)
    for group in groups:
        counted.add(group, window or Window())
    return counted


def test_each_outcome_has_its_share_and_the_next_step_begins_anew():
    window = Window()
    counted = verdicts(graded(1.0, 1.0, 0.0), failed("abstain"), rate=1.0, window=window)
    rates = counted.take(1)
    assert (rates["reward/rate/correct"], rates["reward/rate/abstain"]) == (0.5, 0.25)
    assert rates["reward/rate/timeout"] == 0.0
    assert sum(rates.values()) == 1.0
    assert all(describe(name) for name in rates)
    assert window.values() == {"rewards/correct": 2, "rewards/wrong": 1, "rewards/abstain": 1}
    assert counted.take(2) == {}


def test_parts_are_averaged_over_the_verdicts_that_have_them():
    group = graded(1.0, 0.0, 0.0)
    parts = ({"format": 1.0}, {"format": 0.0, "judge/asked": 3.0}, {})
    group = replace(
        group,
        verdicts_G=tuple(replace(v, parts=p) for v, p in zip(group.verdicts_G, parts, strict=True)),
    )
    window = Window()
    verdicts(group, window=window)
    assert window.values()["reward/part/format"] == 0.5
    assert window.values()["reward/part/judge/asked"] == 3.0
    assert describe("reward/part/judge/asked") is describe("reward/part/format") is not None


def test_timeouts_and_errors_together_stop_the_run_past_their_share():
    groups = [graded(*[1.0] * 18), failed("timeout"), failed("error")]
    verdicts(*groups, rate=0.1).take(1)
    with pytest.raises(GraderFailing, match=r"3 of 21 verdicts failed \(1 timeouts, 2 errors\)"):
        verdicts(*groups, failed("error"), rate=0.1).take(1)


def test_abstentions_are_no_failures():
    verdicts(graded(1.0), failed("abstain"), failed("gold_unparsed"), rate=0.0).take(1)


def test_a_step_that_never_ends_is_stopped_by_as_many_verdicts_as_it_has():
    counted = verdicts(*[failed("timeout")] * 7, rate=0.5, per_step=8)
    with pytest.raises(GraderFailing, match="8 of 8"):
        counted.add(failed("timeout"), Window())


def test_from_half_of_it_on_there_is_a_warning_that_quotes_the_first_and_says_what_to_do(caplog):
    groups = [
        graded(*[1.0] * 90),
        *[failed("timeout", "no verdict in 5 s", f"p/{i}") for i in range(5)],
        failed("error", "ValueError: odd (mine.py:3)", "p/9"),
    ]
    with caplog.at_level(logging.WARNING):
        verdicts(*groups, rate=0.1).take(7)
    assert "step 7" in caplog.text and "6 of 96 verdicts failed" in caplog.text
    assert caplog.text.count("no verdict in 5 s (problem 'p/0')") == 1
    assert "ValueError: odd (mine.py:3) (problem 'p/9')" in caplog.text
    assert "reward_service.seconds" in caplog.text


def test_below_half_of_it_nothing_is_said(caplog):
    verdicts(graded(*[1.0] * 97), failed("error"), rate=0.1).take(1)
    assert caplog.text == ""
