import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlvr.rewards.answers.marked import spelled
from rlvr.rewards.span import Span
from rlvr.types import Outcome, Problem


def outcome(gold, text, **settings):
    return Span(**settings)(Problem(id="p", prompt="", answer=gold), text).outcome


@pytest.mark.parametrize(
    "answer",
    [
        "a red umbrella",
        "A red  umbrella.",
        '"a red umbrella"',
        "\u201ca red umbrella.\u201d",
        "\n a red\numbrella \n",
        "\uff41 red umbrella",
        "`a red umbrella`",
    ],
)
def test_a_span_is_exact_but_for_its_dress(answer):
    assert outcome("a red umbrella", f"<answer>{answer}</answer>") is Outcome.CORRECT
    assert outcome(answer, "<answer>a red umbrella</answer>") is Outcome.CORRECT


@pytest.mark.parametrize(
    "answer", ["red umbrella", "a red umbrella and a dog", "a blue umbrella", "the red umbrella"]
)
def test_a_part_of_the_span_or_more_than_it_is_wrong(answer):
    assert outcome("a red umbrella", f"<answer>{answer}</answer>") is Outcome.WRONG


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (".5", "5", False),
        ("-5", "5", False),
        ("don't", "don\u2019t", True),
        ("Stra\u00dfe", "STRASSE", True),
    ],
)
def test_spelling_keeps_what_carries_meaning(a, b, same):
    assert (spelled(a) == spelled(b)) == same


@given(st.text(max_size=40))
def test_spelling_settles_at_once(text):
    assert spelled(spelled(text)) == spelled(text) or not text.isascii()


def test_two_spans_in_one_answer_are_a_hedge():
    assert outcome("dog", "\\boxed{dog} or \\boxed{cat}", form="box") is Outcome.WRONG
    assert outcome("dog", "\\boxed{dog}, so \\boxed{Dog.}", form="box") is Outcome.CORRECT


def test_no_mark_is_no_answer_and_no_reference_no_judgement():
    assert outcome("dog", "dog") is Outcome.NO_ANSWER
    assert outcome("dog", "<think><answer>dog</answer>") is Outcome.NO_ANSWER
    assert outcome("...", "<answer>dog</answer>") is Outcome.GOLD_UNPARSED


def test_its_own_example_is_accepted():
    reward, problem = Span(), Problem(id="p", prompt="", answer="a dog")
    assert reward(problem, reward.example(problem)).reward == reward.maximum


def test_a_form_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="form='bocks' is no way"):
        Span(form="bocks")


@pytest.mark.parametrize("answer", ["a " * 500_000, "'" * 10**6, "." * 10**6, " " * 10**6])
def test_a_megabyte_takes_linear_time(answer):
    assert outcome("dog", f"<answer>{answer}</answer>") is not Outcome.CORRECT
