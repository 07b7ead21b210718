import pytest

from rlvr.difficulty.any_correct import AnyCorrect
from tests.conftest import graded, problem


@pytest.mark.parametrize(
    ("least", "rewards", "reason"),
    [
        (1, (0, 0, 0), "too_hard"),
        (1, (0, 0, 1), "kept"),
        (1, (1, 1, 1), "kept"),
        (2, (0, 0, 1), "too_hard"),
        (2, (0, 1, 1), "kept"),
    ],
)
def test_a_group_trains_if_enough_of_it_is_right(least, rewards, reason):
    decision = AnyCorrect(least=least).observe(graded(*rewards))
    assert (decision.reason, decision.keep) == (reason, reason == "kept")


def test_a_problem_that_was_not_solved_is_tried_again():
    keeps = AnyCorrect()
    keeps.observe(graded(0, 0))
    keeps.load_state_dict(keeps.state_dict())
    assert keeps.wants(problem())


def test_a_filter_that_keeps_everything_has_another_name():
    with pytest.raises(ValueError, match=r"least=0.*Everything"):
        AnyCorrect(least=0)
