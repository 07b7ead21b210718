import pytest

from rlvr.difficulty.everything import Everything
from tests.conftest import graded, problem


@pytest.mark.parametrize("rewards", [(0, 0), (1, 1), (0, 1), (0.5, 0.5)])
def test_every_group_trains(rewards):
    assert Everything().observe(graded(*rewards)).keep


def test_a_problem_is_wanted_again_whatever_became_of_it():
    keeps = Everything()
    keeps.observe(graded(1, 1))
    keeps.load_state_dict(keeps.state_dict())
    assert keeps.wants(problem())
