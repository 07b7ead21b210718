import pytest

from rlvr.rewards.check import check_gold
from rlvr.rewards.jail import jailed
from rlvr.rewards.math import Math
from rlvr.types import Outcome
from tests.conftest import problem

PROBLEMS = [
    problem("a", "4"),
    problem("b", "\\frac{}{}"),
    problem("c", "\\boxed{(1,2)}"),
    problem("d", ""),
]


def test_references_that_their_verifier_does_not_accept_are_listed():
    check = check_gold(Math(), PROBLEMS)
    assert check.checked == 4
    assert [r.problem_id for r in check.rejected] == ["b", "d"]
    assert str(check.rejected[0]).startswith("b: '\\\\frac{}{}' is ")
    assert check.rejected[1].verdict.outcome is Outcome.NO_ANSWER


@pytest.mark.slow
def test_a_jail_finds_the_same():
    with jailed({"_target_": "rlvr.rewards.math.Math"}, seconds=5) as jail:
        assert check_gold(jail, PROBLEMS) == check_gold(Math(), PROBLEMS)


def test_a_sample_is_the_same_for_the_same_seed():
    many = [problem(str(i), "") for i in range(100)]
    one, two = (check_gold(Math(), many, sample=5, seed=1) for _ in range(2))
    assert one == two
    assert (one.checked, len(one.rejected)) == (5, 5)
    assert check_gold(Math(), many, sample=1000).checked == 100


def test_a_reward_that_does_not_say_how_a_right_answer_looks_cannot_be_checked(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def score(problem, text): return 1")
    with (
        jailed(f"{file}:score", seconds=5) as jail,
        pytest.raises(ValueError, match="no example"),
    ):
        check_gold(jail, PROBLEMS)
