import asyncio
from dataclasses import dataclass

import pytest

from rlvr.rewards.serving.shaped import ShapedGrader, part_name, shaped
from rlvr.types import GradedGroup, Outcome
from tests.conftest import graded, problem, verdict


@dataclass(frozen=True)
class SoftOverlong:
    """As the tests need it: takes a number away from each reward."""

    less: float = 0.5

    def __call__(self, group):
        return [reward - self.less for reward in group.rewards_G]


@dataclass(frozen=True)
class Doubled:
    def __call__(self, group):
        return [2 * reward for reward in group.rewards_G]


class Fixed:
    def __init__(self, group):
        self.group = group

    async def grade(self, group):
        return self.group


def grade(group, *shaping):
    grader = ShapedGrader(grader=Fixed(group), shaping=shaping)
    return asyncio.run(grader.grade(None))


def test_each_shaping_sees_what_the_earlier_made_and_its_change_is_a_part():
    group = grade(graded(1.0, 0.0), SoftOverlong(), Doubled())
    assert group.rewards_G == (1.0, -1.0)
    assert [v.parts for v in group.verdicts_G] == [
        {"soft_overlong": -0.5, "doubled": 0.5},
        {"soft_overlong": -0.5, "doubled": -0.5},
    ]


def test_two_of_one_class_add_up():
    group = grade(graded(1.0), SoftOverlong(0.5), SoftOverlong(0.25))
    assert group.verdicts_G[0].parts == {"soft_overlong": -0.75}
    assert group.rewards_G == (0.25,)


def test_outcomes_and_what_was_not_graded_stay_as_they_are():
    group = grade(
        GradedGroup(
            problem=problem(),
            rollouts_G=graded(1.0, 0.0).rollouts_G,
            verdicts_G=graded(1.0, 0.0).verdicts_G,
            ungraded=(verdict(None),),
        ),
        SoftOverlong(),
    )
    assert [v.outcome for v in group.verdicts_G] == [Outcome.CORRECT, Outcome.WRONG]
    assert group.pass_rate == 0.5
    assert group.ungraded == (verdict(None),)


def test_a_group_with_nothing_graded_is_not_shaped():
    class Refusing:
        def __call__(self, group):
            raise AssertionError("there is nothing to shape")

    empty = GradedGroup(
        problem=problem(), rollouts_G=(), verdicts_G=(), ungraded=(verdict(None),) * 2
    )
    assert grade(empty, Refusing()) == empty


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_reward_that_is_not_finite_is_refused_by_the_shapings_name(bad):
    with pytest.raises(ValueError, match=r"soft_overlong made .* of the reward 1.0 on .*'p/0'"):
        shaped(graded(1.0), SoftOverlong(bad))


def test_a_wrong_number_of_rewards_is_refused():
    class Short:
        def __call__(self, group):
            return [0.0]

    with pytest.raises(ValueError, match="short returned 1 rewards for the 2 graded rollouts"):
        shaped(graded(1.0, 0.0), Short())


def test_names_are_those_of_the_classes():
    class NGramRepetition(Doubled): ...

    assert part_name(SoftOverlong()) == "soft_overlong"
    assert part_name(Doubled()) == "doubled"
    assert part_name(NGramRepetition()) == "ngram_repetition"
