"""The audit's own arithmetic, on a small suite and a reward whose mistakes are known."""

import json

import pytest

from rlvr.rewards import audit
from rlvr.rewards.auditing.golden import Bounds, Graded, score
from rlvr.rewards.auditing.suites import REFUSED, Case, SuiteError, read_suite
from rlvr.types import Outcome, Verdict

REWARD = """
import time
from dataclasses import dataclass
from rlvr.types import Outcome, Verdict

@dataclass(frozen=True, slots=True, kw_only=True)
class Careless:
    \"\"\"Takes what is spelled alike, and numbers with a sign too many.\"\"\"

    def example(self, problem):
        return f"<{problem.answer}>"

    def __call__(self, problem, text):
        gold, answer = problem.answer, text.strip("<>")
        if answer == "hangs":
            while True:
                pass
        if answer == "raises":
            raise RuntimeError("no idea")
        if not answer:
            return Verdict(outcome=Outcome.NO_ANSWER, reward=0.0)
        right = answer == gold or answer == "-" + gold or gold == "anything"
        outcome = Outcome.CORRECT if right else Outcome.WRONG
        return Verdict(outcome=outcome, reward=float(right), extracted=answer)

def lenient(problem, text):
    return 1.0
"""
PAIRS = [
    {"kind": "integer", "gold": "4", "answer": "4", "same": True, "why": "alike"},
    {"kind": "integer", "gold": "4", "answer": "5", "same": False, "why": "another"},
    {
        "kind": "integer",
        "gold": "4",
        "answer": "-4",
        "same": False,
        "why": "a sign: passes one way",
    },
    {"kind": "word", "gold": "four", "answer": "4", "same": True, "why": "not read"},
    {"kind": "word", "gold": "4", "answer": "raises", "same": False, "why": "fails, so no pass"},
    {"kind": "word", "gold": "a", "answer": "a", "same": True, "why": "alike"},
]
RESPONSES = [
    {"gold": "4", "text": "<4>", "outcome": "correct", "why": "tagged"},
    {"gold": "4", "text": "<>", "outcome": "wrong", "why": "said of nothing at all"},
    {"gold": "5", "text": "@", "unit": "5", "repeat": 3, "outcome": ["wrong"], "why": "555"},
    {"gold": "5", "text": "<5>", "outcome": ["correct", "wrong"], "why": "either will do"},
]


def suite(folder, name, rows):
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def command(tmp_path, capsys):
    (tmp_path / "careless.py").write_text(REWARD)

    def run(*words, suites=(("pairs", PAIRS), ("responses", RESPONSES))):
        given = [f"--suite={suite(tmp_path, name, rows)}" for name, rows in suites]
        reward = f"--reward={{_target_: {tmp_path}/careless.py:Careless}}"
        code = audit.main([*given, reward, "--processes=1", "--seconds=1", "--alone", *words])
        written = capsys.readouterr()
        return code, written.out, written.err

    return run


def test_the_figures_of_a_careless_reward(command):
    code, out, _ = command("--json")
    assert code == 1
    figures = {(row["suite"], row["kind"]): row for row in json.loads(out)["reward"]["kinds"]}
    integer, word = figures["pairs", "integer"], figures["pairs", "word"]
    assert (integer["rows"], integer["false_negatives"], integer["false_positives"]) == (3, 0, 1)
    assert integer["agreement"] == pytest.approx(2 / 3)
    assert integer["false_positive_rate"] == pytest.approx(1 / 2)
    assert (word["false_negatives"], word["false_positives"], word["abstained"]) == (1, 0, 1)
    assert word["false_negative_rate"] == pytest.approx(1 / 2)
    every = figures["pairs", "all"]
    assert (every["rows"], every["must_pass"], every["must_fail"]) == (6, 3, 3)
    assert every["agreement"] == pytest.approx(4 / 6)
    assert every["lopsided"] == 1
    whole = figures["responses", "all"]
    assert (whole["rows"], whole["must_pass"], whole["must_fail"]) == (4, 1, 2)
    assert whole["agreement"] == 1.0
    assert 0 < whole["p50_seconds"] <= whole["p99_seconds"] <= whole["max_seconds"]


def test_disagreements_are_listed_with_their_reasons(command):
    _, out, _ = command("--json")
    rows = json.loads(out)["reward"]["findings"]
    assert [(row["what"], row["why"]) for row in rows] == [
        ("false positive", "a sign: passes one way"),
        ("false negative", "not read"),
        ("another outcome", "fails, so no pass"),
        ("another outcome", "said of nothing at all"),
    ]


def test_the_table_shows_rates_and_the_bounds_that_do_not_hold(command):
    code, out, _ = command()
    assert code == 1
    assert "66.7%" in out and "false negative: pairs/word: gold 'four'" in out
    assert "beyond its bound: pairs: timeouts and errors: 1, at most 0" in out
    assert "beyond its bound: responses" not in out


def test_a_suite_within_its_bounds_exits_with_0(command):
    assert command(suites=[("responses", RESPONSES)])[0] == 0
    wide = ("--min-agreement=0.5", "--max-false-negatives=0.5", "--max-false-positives=0.5")
    calm = [row for row in PAIRS if row["answer"] != "raises"]
    assert command(*wide, suites=[("pairs", calm)])[0] == 0


@pytest.mark.slow
def test_a_verdict_that_never_comes_is_a_failure_and_not_a_hang(command):
    hangs = [{"gold": "4", "text": "<hangs>", "outcome": ["wrong", "timeout"], "why": "hostile"}]
    code, out, _ = command("--json", suites=[("hostile", hangs)])
    assert code == 1
    assert "hostile: timeouts and errors: 1, at most 0" in json.loads(out)["beyond"]


def test_a_verdict_slower_than_the_bound_is_named(command):
    code, out, _ = command("--json", "--max-seconds=0", suites=[("responses", RESPONSES[:1])])
    assert code == 1
    (found,) = json.loads(out)["reward"]["findings"]
    assert (found["why"], found["what"].partition(" ")[0]) == ("tagged", "slow")


def test_a_function_of_a_file_is_audited_as_well(command, tmp_path):
    code, out, _ = command("--json", f"--reward={tmp_path}/careless.py:lenient")
    assert code == 1
    (every,) = [r for r in json.loads(out)["reward"]["kinds"] if r["suite"] == "responses"][1:]
    assert every["false_positives"] == 2


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("[1]", "no object"),
        ("{", "Expecting"),
        ('{"gold": "4", "why": "no text"}', "no key 'outcome'"),
        ('{"gold": "4", "answer": "4", "same": "yes", "why": "w"}', "neither true nor false"),
        ('{"gold": "4", "text": "4", "outcome": "fine", "why": "w"}', "fine"),
        ('{"gold": "4", "text": "@", "repeat": 2, "outcome": "wrong", "why": "w"}', "'unit'"),
    ],
)
def test_a_row_that_is_no_case_is_named_by_its_line(tmp_path, line, says):
    path = suite(tmp_path, "mine", RESPONSES[:1])
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(SuiteError, match=r"mine\.jsonl:2") as refused:
        read_suite(path)
    assert says in str(refused.value)


def test_what_cannot_be_read_exits_with_2(command, tmp_path, capsys, monkeypatch):
    assert command(f"--suite={tmp_path}/nowhere.jsonl")[0] == 2
    code, _, err = command("--reward=rlvr.rewards.math.Maths")
    assert code == 2 and "did you mean Math" in err
    monkeypatch.setattr(audit, "GOLDEN", tmp_path / "none")
    assert audit.main([]) == 2
    assert "--suite FILE" in capsys.readouterr().err


def graded(outcomes, outcome, *, mirrored=None, seconds=0.1):
    reward = None if not outcome.is_graded else 1.0 * (outcome is Outcome.CORRECT)
    return Graded(
        case=Case(suite="s", kind="k", gold="4", text="4", answer=None, outcomes=outcomes, why="w"),
        verdict=Verdict(outcome=outcome, reward=reward),
        seconds=seconds,
        mirrored=mirrored,
    )


def test_rates_are_shares_of_the_rows_that_could_go_wrong_that_way():
    right = frozenset({Outcome.CORRECT})
    rows = [
        graded(right, Outcome.CORRECT),
        graded(right, Outcome.TIMEOUT, seconds=5.0),
        graded(right, Outcome.WRONG),
        graded(REFUSED, Outcome.CORRECT),
        graded(REFUSED, Outcome.GOLD_UNPARSED),
    ]
    total = score(rows)
    assert total.false_negative_rate == pytest.approx(2 / 3)
    assert total.false_positive_rate == pytest.approx(1 / 2)
    assert total.agreement == pytest.approx(2 / 5)
    assert (total.abstained, total.broken) == (2, 1)
    assert (total.quantile(0.5), total.quantile(0.99)) == (0.1, 5.0)


def test_a_bound_that_is_just_met_holds():
    right = frozenset({Outcome.CORRECT})
    total = score([graded(right, Outcome.CORRECT)] * 19 + [graded(right, Outcome.WRONG)])
    bounds = Bounds(agreement=0.95, false_negatives=0.05, false_positives=0.0, seconds=0.1)
    assert bounds.broken_by(total) == []
    tight = Bounds(agreement=0.96, false_negatives=0.04, false_positives=0.0, seconds=0.05)
    assert [line.partition(":")[0] for line in tight.broken_by(total)] == [
        "disagreement",
        "false negatives",
        "slowest verdict (s)",
    ]


def test_nothing_graded_has_no_score():
    with pytest.raises(ValueError, match="at least one"):
        score([])
