import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr.rewards.answers.options import in_prompt, options_of
from rlvr.rewards.choice import FORMS, Choice
from rlvr.types import Message, Outcome, Problem

PLANETS = ["Mercury", "Venus", "the Earth", "Mars"]
PROMPT = "Which is red?\n(A) Mercury\n(B) Venus\n(C) the Earth\n(D) Mars\nThink first."


def problem(answer, prompt="", **extra):
    return Problem(id="p", prompt=prompt, answer=answer, extra=extra)


def outcome(answer, text, prompt="", reward=None, **extra):
    verdict = (reward or Choice())(problem(answer, prompt, **extra), text)
    assert verdict.reward == (
        None if not verdict.outcome.is_graded else verdict.outcome == "correct"
    )
    return verdict.outcome


@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{B}",
        "\\boxed{b}",
        "\\boxed{(B)}",
        "\\boxed{\\text{B}}",
        "\\boxed{\\textbf{(B)}}",
        "\\boxed{B.}",
        "\\boxed{\\text{Option B}}",
        "\\boxed{B) Venus}",
        "\\boxed{\\textbf{(B)}\\ Venus}",
        "\\boxed{\\mathrm{B}: Venus}",
        "\\boxed{\N{FULLWIDTH LATIN CAPITAL LETTER B}}",
        "<think>Is it \\boxed{A}?</think> \\boxed{B}",
        "First \\boxed{A}.\nNo: \\boxed{B}",
        "<answer>B</answer>",
        "<answer>**B**</answer>",
        "<answer>The answer is (B).</answer>",
        "\\boxed{\\text{The correct answer is B}}",
        "The answer is (B).",
        "The answer is B because A is too hot.",
        "**Answer: B**",
        "**Answer:** B",
        "The correct option is B.",
        "Answer\N{FULLWIDTH COLON}B",
        "答案是B。",
        "所以选B",
    ],
)
def test_a_letter_names_its_option_however_it_is_dressed(text):
    assert outcome("B", text) is Outcome.CORRECT
    assert outcome("(B)", text, options=PLANETS) is Outcome.CORRECT
    assert outcome("C", text, options=PLANETS) is Outcome.WRONG


@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{Mars}",
        "\\boxed{\\text{mars}}",
        "<answer>Mars.</answer>",
        "The answer is Mars.",
        "The answer is Mars. I hope it is correct.",
        "\\boxed{D}",
        "\\boxed{D. Mars}",
    ],
)
@pytest.mark.parametrize("gold", ["D", "Mars", "D) Mars"])
def test_an_option_is_named_by_letter_or_by_text_in_either_direction(gold, text):
    assert outcome(gold, text, options=PLANETS) is Outcome.CORRECT
    assert outcome(gold, text, prompt=PROMPT) is Outcome.CORRECT


def test_an_option_is_named_by_its_value():
    options = ["$\\frac{1}{2}$", "0.25", "$3$", "none of these"]
    assert outcome("A", "\\boxed{0.5}", options=options) is Outcome.CORRECT
    assert outcome("B", "\\boxed{\\dfrac14}", options=options) is Outcome.CORRECT
    assert outcome("B", "\\boxed{0.5}", options=options) is Outcome.WRONG


@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{A} or \\boxed{B}",
        "\\boxed{B} or \\boxed{A}",
        "\\boxed{A, B}",
        "\\boxed{AB}",
        "\\boxed{A or B}",
        "\\boxed{\\text{either A or B}}",
        "\\boxed{ABCD}",
        "\\boxed{B) Mars}",
        "\\boxed{B) Venus or D) Mars}",
        "\\boxed{A}\n\\boxed{C}\n\\boxed{D}\n\\boxed{B}",
        "The answer is A or B.",
        "The answer is (A) and (B).",
        "Answer: A. The answer is B.",
        "<answer>A, B, C, D</answer>",
    ],
)
def test_a_response_that_names_several_options_is_wrong(text):
    assert outcome("B", text, options=PLANETS) is Outcome.WRONG
    assert outcome("A", text, options=PLANETS) is Outcome.WRONG


def test_a_reference_of_several_letters_asks_for_just_these():
    assert outcome("ACD", "\\boxed{A, C, D}") is Outcome.CORRECT
    assert outcome("A, C", "\\boxed{C and A}") is Outcome.CORRECT
    assert outcome("AC", "\\boxed{A}") is Outcome.WRONG
    assert outcome("AC", "\\boxed{ABC}") is Outcome.WRONG


@pytest.mark.parametrize(
    "text",
    ["", "I can't tell.", "<think>The answer is B", "<think>\\boxed{B}", "A, B, C or D?", "B"],
)
def test_a_text_that_marks_nothing_has_no_answer(text):
    assert outcome("B", text) is Outcome.NO_ANSWER


@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{12}",
        "\\boxed{LETTER}",
        "\\boxed{Z}",
        "The answer is a matter of taste.",
        "The answer is A matter of taste.",
        "The answer is not B.",
        "\\boxed{" + "B" * 600 + "}",
    ],
)
def test_what_names_no_option_is_wrong_and_never_guessed(text):
    assert [outcome(gold, text, options=PLANETS) for gold in "ABCD"] == [Outcome.WRONG] * 4


def test_a_letter_beyond_the_options_names_none():
    assert outcome("B", "\\boxed{E}", options=PLANETS) is Outcome.WRONG
    assert Choice()(problem("B", options=PLANETS), "\\boxed{E}").detail == "names no option"


def test_a_reference_that_names_no_option_judges_nothing():
    assert outcome("12", "\\boxed{B}") is Outcome.GOLD_UNPARSED
    assert outcome("", "\\boxed{B}") is Outcome.GOLD_UNPARSED
    assert outcome("Pluto", "\\boxed{B}", options=PLANETS) is Outcome.GOLD_UNPARSED


def test_options_that_are_alike_are_told_apart_by_letter_only():
    options = ["$\\frac12$", "0.5", "2", "2"]
    assert outcome("D", "\\boxed{D}", options=options) is Outcome.CORRECT
    assert outcome("D", "\\boxed{2}", options=options) is Outcome.WRONG
    assert outcome("2", "\\boxed{2}", options=options) is Outcome.GOLD_UNPARSED


def test_letters_of_options_that_are_letters_are_still_letters():
    options = ["C", "A", "T", "G"]
    assert outcome("A", "\\boxed{A}", options=options) is Outcome.CORRECT
    assert outcome("B", "\\boxed{A}", options=options) is Outcome.WRONG


def test_the_last_capital_alone_counts_only_where_it_is_asked_for():
    last = Choice(forms=["box", "letter"])
    assert outcome("C", "It is A.\nNo, I take C", reward=last) is Outcome.CORRECT
    assert outcome("C", "So **C**", reward=last) is Outcome.CORRECT
    assert outcome("C", "It may be (A), it may be (C).", reward=last) is Outcome.WRONG
    assert outcome("I", "I think that A rose is A rose", reward=last) is Outcome.NO_ANSWER
    assert outcome("C", "\\boxed{B}, not C", reward=last) is Outcome.WRONG


@pytest.mark.parametrize(
    "options",
    [
        PLANETS,
        {"A": "Mercury", "B": "Venus", "C": "the Earth", "D": "Mars"},
        {"0": "Mercury", "1": "Venus", "2": "the Earth", "3": "Mars"},
        {"label": ["A", "B", "C", "D"], "text": PLANETS},
        ["A) Mercury", "B) Venus", "C) the Earth", "D) Mars"],
        json.dumps(PLANETS),
    ],
)
def test_options_are_read_from_a_column_in_the_layouts_of_datasets(options):
    found = options_of(problem("A", options=options), "options")
    assert found == dict(zip("ABCD", PLANETS, strict=True))
    assert options_of(problem("A", choices=options), "options") == found


@pytest.mark.parametrize(
    "prompt",
    [
        PROMPT,
        "Red?\nA) Mercury\nB) Venus\nC) the Earth\nD) Mars",
        "Red?\nA. Mercury\nB. Venus\nC. the Earth\nD. Mars\n\nAnswer with (A), (B), (C) or (D).",
        "$\\textbf{(A)}\\ Mercury\\qquad\\textbf{(B)}\\ Venus\\qquad\\textbf{(C)}\\ the Earth"
        "\\qquad\\textbf{(D)}\\ Mars$",
        "Example:\nA: x\nB: y\nC: z\nD: w\nNow:\nA: Mercury\nB: Venus\nC: the Earth\nD: Mars",
        (Message(role="system", content="Think."), Message(role="user", content=PROMPT)),
    ],
)
def test_options_are_read_from_the_prompt(prompt):
    found = options_of(problem("A", prompt), "options")
    assert found == dict(zip("ABCD", PLANETS, strict=True))


def test_an_option_may_speak_of_others():
    found = in_prompt("Which?\nA. x\nB. y\nC. both (A) and (B)\nD. neither")
    assert found == {"A": "x", "B": "y", "C": "both (A) and (B)", "D": "neither"}


@pytest.mark.parametrize("prompt", ["", "What is (A)?", "(B) x (C) y", "A. x", "Answer (A) or (B)"])
def test_a_prompt_without_two_options_has_none(prompt):
    assert in_prompt(prompt) == {}


def test_a_prompt_that_only_looks_as_if_it_had_options_does_not_refuse_the_reference():
    text = "Step A. wash\nStep B. dry\nAnswer with a letter from A to J."
    assert outcome("G", "\\boxed{G}", prompt=text) is Outcome.CORRECT


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("answer", ["B", "C"])
def test_its_own_example_is_accepted(form, answer):
    reward = Choice(forms=[form])
    assert reward(problem(answer), reward.example(problem(answer))).reward == reward.maximum
    assert reward(problem(answer), reward.example(problem("-31415926"))).reward == 0


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"forms": ["bocks"]}, "forms=.'bocks'.: give a list"),
        ({"forms": "box"}, "forms='box': give a list"),
        ({"forms": []}, "give a list with at least one of box"),
        ({"letters": "abc"}, "two capitals or more"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong, complaint):
    with pytest.raises(ValueError, match=complaint):
        Choice(**wrong)


@settings(max_examples=150, deadline=None)
@given(
    st.text(alphabet="ABCDEab ()[]{}\\boxed.:,answer is\n<>/*$选答案是 or", max_size=80),
    st.sampled_from("ABCD"),
)
def test_any_text_gets_a_verdict_and_only_one_letter_can_be_right(text, gold):
    reward = Choice(forms=FORMS)
    right = [g for g in "ABCD" if reward(problem(g, options=PLANETS), text).reward == 1]
    assert len(right) <= 1
    assert reward(problem(gold), text).outcome.is_graded


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{" * 150_000,
        "\\boxed{A}" * 110_000,
        "answer is " * 100_000,
        "answer is" + " " * 10**6 + "B",
        "(A) " * 250_000,
        "A" * 10**6,
        "A, " * 333_000,
        "\\text{" * 160_000 + "A",
        "<answer>" + "A or " * 200_000 + "</answer>",
        "选" * 300_000,
    ],
)
def test_a_megabyte_takes_linear_time(text):
    assert Choice(forms=FORMS)(problem("C", options=PLANETS), text).reward == 0
