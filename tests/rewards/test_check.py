"""References are checked in real grading processes, by a reward whose mistakes are known."""

import os
import time

import pytest

from rlvr.rewards.auditing.check import PER_CHUNK, check_references, reference_jails
from rlvr.types import Outcome
from tests.conftest import problem

REWARD = """
import os, time
from dataclasses import dataclass
from rlvr.types import Outcome, Verdict

@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    \"\"\"Accepts whole numbers; what else it does is said by the reference.\"\"\"

    def example(self, problem):
        if problem.answer == "has no shape":
            raise RuntimeError("cannot say it")
        return None if problem.answer == "no example" else problem.answer

    def __call__(self, problem, text):
        if text == "hangs":
            while True:
                pass
        if text == "dies":
            os._exit(3)
        if text == "raises":
            raise RuntimeError("cannot read this")
        if text == "slow":
            time.sleep(0.02)
        right = text.isdigit() or text == "slow"
        outcome = Outcome.CORRECT if right else Outcome.WRONG
        return Verdict(outcome=outcome, reward=float(right), extracted=text)
"""


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    file = tmp_path_factory.mktemp("rewards") / "whole.py"
    file.write_text(REWARD)
    return {"_target_": f"{file}:Whole"}


@pytest.fixture(scope="module")
def jails(spec):
    with reference_jails(spec, processes=2, seconds=1.0) as made:
        yield made


def problems(*answers):
    return [problem(f"p/{i}", answer, source="made-up") for i, answer in enumerate(answers)]


def test_references_that_their_reward_does_not_accept_are_listed_in_the_datas_order(jails):
    check = check_references(jails, problems("4", "four", "", *["7"] * 500, "seven"))
    assert (check.total, check.checked, check.unasked) == (504, 504, 0)
    assert [r.place for r in check.rejected] == [1, 2, 503]
    assert [r.problem_id for r in check.rejected] == ["p/1", "p/2", "p/503"]
    assert str(check.rejected[0]) == "p/1: 'four' is wrong (read as 'four')"
    assert check.rate == 3 / 504
    assert check.is_complete


@pytest.mark.slow
def test_one_that_hangs_kills_or_raises_is_named_and_costs_no_other_its_verdict(jails):
    answers = ["4"] * (PER_CHUNK + 40)
    answers[3], answers[9], answers[PER_CHUNK + 5] = "hangs", "dies", "raises"
    check = check_references(jails, problems(*answers))
    assert check.checked == len(answers)
    found = {r.place: r for r in check.rejected}
    assert {place: r.outcome for place, r in found.items()} == {
        3: Outcome.TIMEOUT,
        9: Outcome.ERROR,
        PER_CHUNK + 5: Outcome.ERROR,
    }
    assert "cannot read this" in found[PER_CHUNK + 5].reason


@pytest.mark.slow
def test_slow_references_are_no_timeout_for_being_many(jails):
    check = check_references(jails, problems(*["slow"] * 80))
    assert (check.checked, check.rejected) == (80, ())


@pytest.mark.slow
def test_past_the_limit_what_was_checked_is_a_random_sample(jails):
    many = problems(*["slow", "four"] * 2000)
    check = check_references(jails, many, limit_seconds=1.0)
    assert 0 < check.checked < check.total == 4000
    assert not check.is_complete
    assert {r.place % 2 for r in check.rejected} == {1}
    assert max(r.place for r in check.rejected) > 2000
    assert 0.2 < check.rate < 0.8


def test_references_without_an_example_are_not_asked(jails):
    check = check_references(jails, problems("no example", "4", "four"))
    assert (check.checked, check.unasked, len(check.rejected)) == (3, 1, 1)
    assert check.rate == 0.5


def test_references_that_cannot_be_said_are_faults(jails):
    (fault,) = check_references(jails, problems("4", "has no shape")).rejected
    assert (fault.place, fault.outcome) == (1, Outcome.ERROR)
    assert "cannot say it" in fault.reason


def test_progress_ends_at_the_total(jails):
    seen = []
    check_references(jails, problems(*["4"] * 300), progress=lambda *now: seen.append(now))
    assert seen[-1] == (300, 300)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_no_problems_are_no_faults(jails):
    check = check_references(jails, [])
    assert (check.total, check.checked, check.rate) == (0, 0, 0.0)


def test_surrogates_and_null_bytes_pass(jails):
    check = check_references(jails, problems("\ud800", "a\0b", "4"))
    assert [r.place for r in check.rejected] == [0, 1]


def test_the_processes_end_with_the_block(spec):
    with reference_jails(spec, processes=1) as made:
        pid = made[0]._pid
        os.kill(pid, 0)
    for _ in range(100):
        if not os.path.exists(f"/proc/{pid}"):
            break
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{pid}")
