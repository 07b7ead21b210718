from collections.abc import Sequence

import pytest

from rlvr.advantages.gdpo import Gdpo
from rlvr.advantages.grpo import Grpo
from rlvr.types import GradedGroup, Outcome, Verdict
from tests.conftest import problem, rollout


def group_of(
    math: Sequence[float], form: Sequence[float], lengths: Sequence[int] | None = None
) -> GradedGroup:
    return GradedGroup(
        problem=problem(),
        rollouts_G=tuple(rollout(tokens=tokens) for tokens in lengths or [1] * len(math)),
        verdicts_G=tuple(
            Verdict(outcome=Outcome.WRONG, reward=0.0, parts={"math": right, "form": kept})
            for right, kept in zip(math, form, strict=True)
        ),
    )


# With eps=0 and two rollouts each part becomes +-sqrt(1/2), or 0 where it is equal.
HALF = 0.5**0.5
GROUPS = [
    group_of((1.0, 0.0), (0.0, 0.25), (1, 3)),
    group_of((0.0, 8.0), (1.0, 1.0), (2, 2)),
]
SUMS = [[HALF - 0.5 * HALF, -HALF + 0.5 * HALF], [-HALF, HALF]]


def of_lists(lists):
    return [pytest.approx(row, abs=1e-12) for row in lists]


def test_over_tokens_each_sum_counts_as_often_as_its_rollout_has_tokens():
    tokens = [SUMS[0][0], *[SUMS[0][1]] * 3, *[SUMS[1][0]] * 2, *[SUMS[1][1]] * 2]
    mean = sum(tokens) / 8
    variance = sum((x - mean) ** 2 for x in tokens) / 7
    expected = [[(x - mean) / (variance + 1e-8) ** 0.5 for x in row] for row in SUMS]
    found = Gdpo(weights={"math": 1.0, "form": 0.5}, eps=0.0).over_batch(GROUPS)
    assert found == of_lists(expected)


def test_over_rollouts_each_sum_counts_once():
    variance = sum(x**2 for row in SUMS for x in row) / 3  # Their mean is 0.
    found = Gdpo(weights={"math": 1.0, "form": 0.5}, over="rollouts", eps=0.0).over_batch(GROUPS)
    assert found == of_lists([[x / variance**0.5 for x in row] for row in SUMS])


def test_the_two_differ_in_the_floor_alone_where_all_are_equally_long():
    groups = [group_of((1.0, 0.0, 0.0), (1.0, 1.0, 0.0)), group_of((0.0, 1.0), (0.0, 1.0))]
    weights = {"math": 1.0, "form": 1.0}
    by_token = Gdpo(weights=weights).over_batch(groups)
    by_rollout = Gdpo(weights=weights, over="rollouts").over_batch(groups)
    assert by_token == [pytest.approx(row, abs=1e-5) for row in by_rollout]


def test_a_part_is_normalised_before_its_scale_can_hide_the_other():
    small, large = group_of((0.0, 0.0, 1.0), (0.0, 1.0, 0.0)), group_of((0, 0, 99), (0, 1, 0))
    both = Gdpo(weights={"math": 1.0, "form": 1.0}, eps=0.0)
    assert both(large) == pytest.approx(both(small), abs=1e-9)


def test_with_one_part_and_one_group_it_is_grpo_up_to_eps():
    group = group_of((0.3, 1.0, -0.7, 0.1), (0.0,) * 4)
    found = Gdpo(weights={"math": 2.0}, over="rollouts", eps=0.0)(group)
    parts = GradedGroup.of_rewards((0.3, 1.0, -0.7, 0.1))
    assert found == pytest.approx(Grpo(eps=0.0)(parts), abs=1e-12)


@pytest.mark.parametrize("over", ["tokens", "rollouts"])
def test_parts_that_are_equal_in_every_group_train_nothing(over):
    groups = [group_of((0.1,) * 3, (1.0,) * 3), group_of((0.7,), (0.2,)), group_of((), ())]
    advantage = Gdpo(weights={"math": 1.0, "form": 1.0}, over=over)
    assert advantage.over_batch(groups) == [[0.0] * 3, [0.0], []]


def test_a_name_that_no_verdict_has_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"weights\.maths: .*\['form', 'math'\].*take"):
        Gdpo(weights={"maths": 1.0})(GROUPS[0])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"weights": {}}, "weights={}"),
        ({"weights": {"math": 0.0}}, "weights.math=0.0"),
        ({"weights": {"math": float("nan")}}, "weights.math=nan"),
        ({"weights": {"math": 1.0}, "over": "groups"}, "over='groups'"),
        ({"weights": {"math": 1.0}, "ddof": 2}, "ddof=2"),
        ({"weights": {"math": 1.0}, "eps": -1.0}, "eps=-1.0"),
    ],
)
def test_a_setting_that_means_nothing_is_refused(settings, says):
    with pytest.raises(ValueError, match=f"{says}.*take"):
        Gdpo(**settings)
