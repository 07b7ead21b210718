import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr.rewards.answers.extract import Form
from rlvr.rewards.format import Marked, Soft, Strict, has_thought
from rlvr.types import Outcome, Problem

PROBLEM = Problem(id="p", prompt="", answer="4")
R1 = re.compile(r"^<think>.*</think>\s*<answer>.*</answer>$", re.DOTALL)


def score(reward, text):
    verdict = reward(PROBLEM, text)
    assert (verdict.outcome is Outcome.CORRECT) == (verdict.reward == reward.maximum)
    assert verdict.outcome in (Outcome.CORRECT, Outcome.WRONG)
    return verdict.reward


@pytest.mark.parametrize(
    ("text", "reward"),
    [
        ("<think>two and two</think><answer>4</answer>", 1),
        ("<think>\na\n</think>\n\n<answer>\n4\n</answer>", 1),
        ("<think></think><answer></answer>", 1),
        ("<think>a</think><answer>4</answer>\n", 1),
        (" <think>a</think><answer>4</answer>", 0),
        ("<think>a</think> so <answer>4</answer>", 0),
        ("<think>a</think><answer>4</answer> Done.", 0),
        ("<think>a<answer>4</answer>", 0),
        ("<answer>4</answer><think>a</think>", 0),
        ("<think>a</think>4", 0),
        ("a</think><answer>4</answer>", 0),
        ("", 0),
        ("<think></answer>", 0),
    ],
)
def test_strict_form_is_the_whole_text_or_nothing(text, reward):
    assert score(Strict(), text) == reward


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", "a", " ", "\n", "<"]),
        max_size=10,
    ).map("".join)
)
def test_strict_form_is_the_published_expression(text):
    assert score(Strict(), text) == float(R1.search(text) is not None)


def test_strict_form_may_ask_for_each_tag_once():
    text = "<think>a</think><answer>5</answer> or <answer>4</answer>"
    assert score(Strict(), text) == 1
    assert score(Strict(once=True), text) == 0
    assert score(Strict(once=True), "<think>a</think><answer>4</answer>") == 1


def test_a_thought_that_the_prompt_opened_is_not_asked_for_again():
    text = "two and two</think><answer>4</answer>"
    assert score(Strict(opened=True), text) == 1
    assert score(Strict(opened=True, once=True), f"<think>{text}") == 0
    assert score(Soft(opened=True), text) == 1


@pytest.mark.parametrize(
    ("text", "reward"),
    [
        ("<think>a</think><answer>4</answer>", 1.0),
        ("</answer><answer></think><think>", 1.0),
        ("<think>a</think>", 0.5),
        ("<think><think>a</think><answer>4</answer>", 0.75),
        ("<answer>4</answer><answer>4</answer>", 0.0),
        ("", 0.0),
    ],
)
def test_soft_form_counts_the_tags_that_are_there_once(text, reward):
    assert score(Soft(), text) == reward


@pytest.mark.parametrize(
    ("form", "text", "reward"),
    [
        ("box", "so \\boxed{4}", 1),
        ("box", "so 4", 0),
        ("box", "\\boxed{4", 0),
        ("box", "\\boxed{}", 0),
        ("box", "<think>\\boxed{4}", 0),
        ("box", "<think>\\boxed{4}</think> 4", 0),
        ("hashes", "#### 4", 1),
        ("answer_tag", "<answer>4</answer>", 1),
    ],
)
def test_a_marked_answer_stands_after_the_thought(form, text, reward):
    assert score(Marked(form=form), text) == reward


@pytest.mark.parametrize(
    "reward", [Strict(), Strict(opened=True, once=True), Soft(), Soft(opened=True), Marked()]
)
@pytest.mark.parametrize("text", ["4", "\\boxed{4}", "<answer>4</answer>"])
def test_a_text_in_its_dress_is_in_form(reward, text):
    assert score(reward, reward.dress(text)) == 1
    assert text in reward.dress(text)


@pytest.mark.parametrize("reward", [Strict(), Soft(), Marked()])
def test_texts_of_equal_keys_have_equal_verdicts(reward):
    texts = ["", "<think>", "<think>a</think><answer>\\boxed{4}</answer>", "\\boxed{4}", "</think>"]
    for a in texts:
        for b in texts:
            equal = reward(PROBLEM, a) == reward(PROBLEM, b)
            assert equal == (reward.key(PROBLEM, a) == reward.key(PROBLEM, b))


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("<think>a</think>4", True),
        ("a</think>4", True),
        ("4", False),
        ("<think>a", False),
        ("<think>a</think><think>b", False),
        ("<think>a</think>b</think>", False),
        ("<think><think>a</think>4", False),
    ],
)
def test_a_thought_is_one_that_is_closed(text, there):
    assert has_thought(text) == there


def test_a_form_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="form='bocks' is no way to mark an answer; take one of"):
        Marked(form="bocks")


@pytest.mark.parametrize(
    "text",
    [
        "<think>" * 150_000,
        "<think>" + "</think>" * 125_000 + "</answer>",
        "<think>" + "</think>\n<answer" * 60_000 + "</answer>",
        "<think></think>" + " " * 10**6 + "</answer>",
        "<think>" + "</think>          " * 55_000 + "</answer>",
    ],
)
@pytest.mark.parametrize("reward", [Strict(), Soft(), *(Marked(form=form) for form in Form)])
def test_a_megabyte_takes_linear_time(reward, text):
    assert score(reward, text) < 1
