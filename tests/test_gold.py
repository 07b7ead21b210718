"""What a run trains on has references that its own reward accepts, or the run does not start."""

import json
from contextlib import nullcontext

import pytest

from rlvr import gold
from rlvr.assembly import Data
from rlvr.config import ConfigError, GoldCheckConfig, RunConfig
from rlvr.gold import check_data, fingerprint
from rlvr.problems.stream import Shuffled
from rlvr.rewards.auditing.check import GoldCheck, Rejected
from rlvr.rewards.porting.ported import About
from rlvr.types import Outcome
from tests.conftest import problem

REWARD = """
from dataclasses import dataclass
from rlvr.types import Outcome, Verdict

@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    strict: bool = True

    def example(self, problem):
        return problem.answer

    def __call__(self, problem, text):
        right = text.isdigit() or not self.strict
        outcome = Outcome.CORRECT if right else Outcome.WRONG
        return Verdict(outcome=outcome, reward=float(right), extracted=text)

def score(problem, text):
    return 1.0
"""


@pytest.fixture
def run(tmp_path):
    file = tmp_path / "whole.py"
    file.write_text(REWARD)
    settings = GoldCheckConfig(processes=1, cache=str(tmp_path / "cache"))
    return RunConfig(recipe_name="mine", reward={"_target_": f"{file}:Whole"}, gold_check=settings)


@pytest.fixture
def checks(monkeypatch):
    """How often references were graded: here and not in a jail, which starts a process."""
    calls = []

    def check(jails, problems, **_settings):
        calls.append(len(problems))
        rejected = tuple(
            Rejected(
                place=place,
                problem_id=one.id,
                source=one.source,
                answer=one.answer,
                outcome=Outcome.ERROR if one.answer == "raises" else Outcome.WRONG,
                reason="made up",
            )
            for place, one in enumerate(problems)
            if not one.answer.isdigit()
        )
        return GoldCheck(
            total=len(problems),
            checked=len(problems),
            unasked=0,
            rejected=rejected,
            seconds=0.1,
        )

    monkeypatch.setattr(gold, "check_references", check)
    monkeypatch.setattr(gold, "reference_jails", lambda *args, **settings: nullcontext([]))
    return calls


def data(*answers, held_out=(), exemplified=True):
    training = [problem(f"t/{i}", answer) for i, answer in enumerate(answers)]
    rest = [problem(f"h/{i}", answer) for i, answer in enumerate(held_out)]
    return Data(
        problems=Shuffled(training),
        held_out=rest,
        render=lambda problem: (1,),
        overlong=0,
        reward=About(name="whole", style="plug-in", maximum=None, exemplified=exemplified),
        layout="",
    )


def test_rejected_problems_are_left_out_and_listed(run, tmp_path):
    checked = check_data(run, data(*["4"] * 30, "four", held_out=["5"] * 20 + ["five"]))
    assert len(checked.data.problems.all()) == 30
    assert "t/30" not in {p.id for p in checked.data.problems.all()}
    assert len(checked.data.held_out) == 20
    assert "training: 1 of 31 references rejected" in checked.note
    assert "held out: 1 of 21 references rejected" in checked.note
    checked.write(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "rejected.jsonl").read_text().splitlines()]
    assert [(row["set"], row["id"], row["reference"]) for row in rows] == [
        ("training", "t/30", "four"),
        ("held out", "h/20", "five"),
    ]


def test_clean_data_is_passed_on_and_leaves_no_file(run, checks, tmp_path):
    before = data("4", "5")
    checked = check_data(run, before)
    checked.write(tmp_path)
    assert checked.data.problems is before.problems
    assert not (tmp_path / "rejected.jsonl").exists()


def test_too_many_rejected_refuse_the_run_with_the_first_ten_and_the_remedy(run, checks):
    with pytest.raises(ConfigError) as refused:
        check_data(run, data(*["four"] * 12, *["4"] * 20))
    message = str(refused.value)
    assert "12 of 32" in message and "37.5%" in message and "max_rejected=0.05" in message
    assert message.count("'four' is wrong") == 10 and "and 2 more" in message
    assert "python -m rlvr.problems.check recipe=mine" in message


def test_held_out_references_are_held_to_the_same_bound(run, checks):
    with pytest.raises(ConfigError, match="held out: 1 of 2"):
        check_data(run, data("4", held_out=["4", "four"]))


def test_refuse_allows_none(run, checks):
    run.gold_check.policy = "refuse"
    with pytest.raises(ConfigError, match="policy=refuse allows none"):
        check_data(run, data(*["4"] * 100, "four"))


def test_off_looks_at_nothing(run, checks):
    run.gold_check.policy = "off"
    checked = check_data(run, data("four"))
    assert (checks, checked.sets) == ([], ())
    assert "policy=off" in checked.note


def test_a_run_whose_problems_are_all_left_out_is_refused(run, checks):
    run.gold_check.max_rejected = 1.0
    with pytest.raises(ConfigError, match="all of the 1 problems"):
        check_data(run, data("four"))


def test_a_reward_without_an_example_is_skipped_and_said_so(run, tmp_path, checks):
    run.reward = f"{tmp_path}/whole.py:score"
    assert "not checked" in check_data(run, data("four", exemplified=False)).note
    assert checks == []


def test_a_second_start_remembers_the_first(run, checks):
    once, again = (check_data(run, data(*["4"] * 30, "four")) for _ in range(2))
    assert checks == [31]
    assert again.sets == once.sets
    assert len(again.data.problems.all()) == 30


@pytest.mark.parametrize("change", ["data", "settings", "code", "reward_seconds"])
def test_whatever_a_verdict_rests_on_makes_it_look_again(run, tmp_path, checks, change):
    check_data(run, data("4", "5"))
    answers = ["4", "5"]
    if change == "data":
        answers[0] = "6"
    elif change == "settings":
        run.reward["strict"] = False
    elif change == "reward_seconds":
        run.reward_service.seconds = 4.0
    else:
        (tmp_path / "whole.py").write_text(REWARD + "\n# another\n")
    check_data(run, data(*answers))
    assert checks == [2, 2]


def test_the_code_of_all_rewards_is_part_of_what_a_verdict_rests_on():
    files = {file.name for file in gold._sources({"_target_": "rlvr.rewards.math.Math"})}
    assert {"math.py", "ported.py", "compare.py"} <= files


def test_failures_of_the_reward_are_not_remembered(run, checks):
    for _ in range(2):
        checked = check_data(run, data(*["4"] * 30, "raises"))
        assert [r.outcome for r in checked.sets[0].check.rejected] == ["error"]
    assert checks == [31, 31]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"rejected": [{"outcome": "odd"}]}', "\0"])
def test_a_damaged_memory_is_looked_past(run, tmp_path, checks, text):
    check_data(run, data("4"))
    (file,) = (tmp_path / "cache" / "gold").iterdir()
    file.write_text(text)
    assert "0 of 1" in check_data(run, data("4")).note
    assert checks == [1, 1]


def test_a_memory_that_cannot_be_written_is_no_obstacle(run, checks, tmp_path, caplog):
    (tmp_path / "cache").write_text("in the way")
    assert "0 of 1" in check_data(run, data("4")).note
    assert "not kept" in caplog.text


def test_a_fingerprint_depends_on_every_field_of_a_problem():
    base = problem("p", "4")
    others = [
        problem("q", "4"),
        problem("p", "5"),
        problem("p", "4", source="s"),
        problem("p", "4", extra={"k": 1}),
    ]
    spec = {"_target_": "rlvr.rewards.math.Math"}
    prints = {fingerprint(spec, [one]) for one in (base, *others)}
    assert len(prints) == 5
    assert fingerprint(spec, [base, base]) not in prints
