import pytest

from bench.reward_pairs import KINDS, PER_QUESTION, questions
from bench.rewards import Burst, burst_of, mixed, speed_of
from bench.sabotaged import Sabotaged
from rlvr.rewards.math import grade
from rlvr.types import Outcome
from tests.conftest import problem


def test_a_rate_is_of_the_time_inside_the_grader_and_agreement_of_the_responses_as_made():
    rows = [(1.0, 0.1), (0.0, 0.1), (None, 0.2), (1.0, 0.4)]
    speed = speed_of("x", rows, [True, True, False, False])
    assert speed.per_second == pytest.approx(4 / 0.8)
    assert (speed.p50_ms, speed.max_ms) == (pytest.approx(200), pytest.approx(400))
    assert speed.agreement == 0.5


def test_a_response_without_a_row_is_no_speed():
    with pytest.raises(ValueError, match="2 scores for 3"):
        speed_of("x", [(1.0, 0.1)] * 2, [True] * 3)


def test_a_score_that_never_came_is_not_a_false_zero():
    burst = burst_of("x", [1.0, 0.0, None, 1.0], asked=6, seconds=2.0)
    assert burst == Burst(name="x", asked=6, right=2, false_zeros=1, without=3, seconds=2.0)


def test_hostile_texts_stand_among_the_right_ones_and_early():
    texts = mixed(list(range(100)), ["h"] * 10)
    places = [place for place, text in enumerate(texts) if text == "h"]
    assert [text for text in texts if text != "h"] == list(range(100))
    assert (places[0], len(places), max(places)) == (0, 10, 54)


def test_questions_are_a_function_of_the_seed_and_of_every_kind():
    asked = questions(200, seed=3)
    assert asked == questions(200, seed=3) != questions(200, seed=4)
    assert {len(group) for group in asked} == {PER_QUESTION}
    assert len({group[0].gold for group in asked}) > 20 * len(KINDS)
    share = sum(one.right for group in asked for one in group) / (200 * PER_QUESTION)
    assert 0.4 < share < 0.6


def test_responses_are_labelled_as_they_are():
    for group in questions(150, seed=5):
        for one in group:
            found = grade(one.gold, one.text).outcome
            assert (found is Outcome.CORRECT) == one.right, one


def test_the_sabotaged_grader_is_the_math_verifier_for_any_other_text():
    assert Sabotaged()(problem("p", "4"), r"\boxed{4}").outcome is Outcome.CORRECT
