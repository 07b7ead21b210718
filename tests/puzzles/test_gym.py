"""reasoning-gym's datasets: none of its scorers runs, or is fooled by, what a model wrote."""

import json
import sys
from typing import Any

import pytest

from rlvr.puzzles import gym

WITH_RULES = pytest.mark.parametrize("name", gym.RULES)


def entries(name: str, count: int = 5) -> list[dict[str, Any]]:
    made = gym.dataset(name, {})
    return [made[n] for n in range(count)]


@WITH_RULES
def test_the_rule_accepts_what_the_dataset_says_and_little_else(name: str):
    for entry in entries(name, 6):
        assert gym.score(name, {}, entry, entry["answer"]) == 1.0
        assert gym.score(name, {}, entry, f"\n{entry['answer']} ") == 1.0
        for wrong in ("", "24", "[]", entry["answer"][:-1], entry["answer"] + " 1"):
            assert gym.score(name, {}, entry, wrong) == 0.0


@WITH_RULES
def test_the_rule_runs_no_code(name: str, tmp_path):
    mark = tmp_path / "mark"
    entry = entries(name, 1)[0]
    code = f"[open({str(mark)!r}, 'w').close()]"
    assert gym.score(name, {}, entry, code) == 0.0
    assert not mark.exists()


def test_countdown_is_judged_by_value_and_by_the_numbers_that_are_used():
    entry = {"answer": "", "metadata": {"numbers": [3, 5, 7, 2], "target": 24}}

    def score(answer: str) -> float:
        return gym.score("countdown", {}, entry, answer)

    assert score("(5 - 3) * (7 + 5)") == 0.0  # 5 twice, 2 never
    assert score("2 * (3 * 5 - 7) + 8") == 0.0
    assert score("7 + 5 * 3 + 2") == 1.0
    assert score("2 + 3 \N{MULTIPLICATION SIGN} 5 + 7") == 1.0
    assert score("24") == 0.0


def test_puzzle24_takes_the_numbers_that_were_given_and_exactly_24():
    entry = {"answer": "", "metadata": {"numbers": [3, 3, 8, 8]}}
    assert gym.score("puzzle24", {}, entry, "8 / (3 - 8 / 3)") == 1.0
    assert gym.score("puzzle24", {}, entry, "4 * 6 * 1 * 1") == 0.0
    assert gym.score("puzzle24", {}, entry, "3 * 8 + 3 / 8") == 0.0  # 24.375


@pytest.mark.parametrize("name", gym.REFUSED)
def test_a_dataset_without_a_sound_scorer_is_refused_with_the_reason_and_the_list(name: str):
    with pytest.raises(ValueError) as refusal:
        gym.dataset(name, {})
    assert f"{name!r} of reasoning-gym: {gym.REFUSED[name]}" in str(refusal.value)
    assert all(other in str(refusal.value) for other in gym.REFUSED)


def test_an_unknown_dataset_and_an_unknown_setting_are_refused():
    with pytest.raises(ValueError, match="did you mean chain_sum"):
        gym.dataset("chain_sums", {})
    with pytest.raises(ValueError, match=r"'chain_sum' refuses the settings.*terms"):
        gym.dataset("chain_sum", {"terms": 3})
    with pytest.raises(ValueError, match="'chain_sum' refuses the settings"):
        gym.dataset("chain_sum", {"min_terms": 0})


def test_a_missing_package_is_told_with_the_command_that_installs_it(monkeypatch):
    gym.library.cache_clear()
    gym._dataset.cache_clear()
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'rlvr\[puzzles\]'"):
        gym.dataset("chain_sum", {})


@pytest.mark.parametrize("name", gym.UNREADABLE)
@pytest.mark.parametrize("answer", ["{}", "x", "1e9999", "1e99999999", "9" * 30_000, "\x00"])
def test_an_answer_that_a_scorer_cannot_read_scores_nothing(name: str, answer: str):
    assert gym.score(name, {}, entries(name, 1)[0], answer) < 1.0


def test_a_scorer_that_fails_is_not_an_answer_that_is_wrong():
    with pytest.raises(KeyError):
        gym.score("sudoku", {}, {"answer": "1", "metadata": {}}, "2")


def test_scores_stay_between_0_and_1():
    for name in ("chain_sum", "letter_counting"):
        for entry in entries(name):
            for answer in (entry["answer"], entry["answer"] + " or so", "x"):
                assert 0.0 <= gym.score(name, {}, entry, answer) <= 1.0


ATTACKS = (
    "__import__('os').abort()",
    "[1, 2]",
    "1e99",
    "nan",
    "inf",
    "x",
    "True",
    "{}",
    "9**9**9",
    "(" * 500,
    "\ud800",
)
FOLLOWED = set(ATTACKS) - {"[1, 2]", "x", "True", "1e99"}
"""Attacks that no dataset has for an answer."""
_compiled: list[str] = []
_watching = False


def _watch(event: str, args: tuple[Any, ...]) -> None:
    if _watching and event == "compile":
        _compiled.append(str(args[0]))


@pytest.mark.slow
def test_no_dataset_that_is_let_through_runs_or_rewards_an_attack():
    global _watching
    sys.addaudithook(_watch)
    names = sorted(gym.library().DATASETS.keys() - gym.REFUSED.keys())
    assert len(names) > 90
    for name in names:
        made = gym.dataset(name, {})
        for n in range(2):
            entry = made[n]
            right = entry["answer"]
            assert right is None or gym.score(name, {}, entry, str(right)) == 1.0, name
            for attack in ATTACKS:
                _watching = True
                try:
                    score = gym.score(name, {}, entry, attack)
                finally:
                    _watching = False
                assert attack not in FOLLOWED or score < 1.0, (name, attack)
    assert not [source for source in _compiled if any(attack in source for attack in FOLLOWED)]


def test_an_entry_is_the_same_wherever_it_is_made():
    gym._dataset.cache_clear()
    first = json.dumps(gym.dataset("chain_sum", {"min_terms": 3})[5], default=str)
    gym._dataset.cache_clear()
    assert json.dumps(gym.dataset("chain_sum", {"min_terms": 3})[5], default=str) == first
