import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr.rewards.answers.extract import Form, answers, mark
from rlvr.rewards.math import Math, equivalent, grade
from rlvr.types import Outcome, Problem

ROOT = Path(__file__).parents[2]
GOLDEN = [json.loads(line) for line in (ROOT / "tests/golden/math.jsonl").read_text().splitlines()]
READABLE = sorted({case["gold"] for case in GOLDEN if case["outcome"] != "gold_unparsed"})
REWARDS = {"correct": 1.0, "wrong": 0.0, "no_answer": 0.0}

numerals = st.one_of(
    st.integers().map(str),
    st.fractions().map(lambda f: f"\\frac{{{f.numerator}}}{{{f.denominator}}}"),
    st.decimals(allow_nan=False, allow_infinity=False, places=4).map(str),
)
tuples = st.lists(st.integers(0, 9).map(str), min_size=2, max_size=4).map(
    lambda items: "(" + ",".join(items) + ")"
)
plain = st.one_of(
    numerals, tuples, st.sampled_from(["A", "yes", "\\{1,2\\}", "1, 2", "x=3", "5\\%"])
)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["why"])
def test_golden(case):
    verdict = grade(case["gold"], case["text"], form=Form(case.get("form", "box")))
    assert verdict.outcome == case["outcome"], verdict
    assert verdict.reward == REWARDS.get(case["outcome"])


@pytest.mark.parametrize("gold", READABLE)
def test_every_reference_passes_its_own_check(gold):
    reward = Math()
    verdict = reward(Problem(id="", prompt="", answer=gold), reward.example(gold))
    assert verdict.outcome is Outcome.CORRECT, verdict


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["why"])
def test_equivalence_has_no_direction(case):
    for answer in answers(case["text"]):
        assert equivalent(case["gold"], answer) == equivalent(answer, case["gold"])


@settings(max_examples=60, deadline=None)
@given(plain, plain)
def test_equivalence_of_plain_answers_has_no_direction_and_holds_with_itself(a, b):
    assert equivalent(a, b) == equivalent(b, a)
    assert equivalent(a, a)


@settings(max_examples=60, deadline=None)
@given(st.fractions(), st.fractions())
def test_fractions_are_equal_exactly_where_their_values_are(a, b):
    assert equivalent(str(a), f"\\dfrac{{{b.numerator}}}{{{b.denominator}}}") == (a == b)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300), st.sampled_from(Form))
def test_no_text_without_an_answer_makes_the_grader_fail(text, form):
    if not answers(text, form):
        assert grade("4", text, form=form).outcome is Outcome.NO_ANSWER


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="\\boxed{}<think>/answer# 4\n$", max_size=120), st.sampled_from(Form))
def test_looking_for_an_answer_never_fails_and_finds_only_parts_of_the_text(text, form):
    assert all(answer and answer in text for answer in answers(text, form))


@pytest.mark.parametrize("form", list(Form))
@pytest.mark.parametrize("answer", ["4", "\\frac{1}{2}", "\\{1,2\\}", "x = 3", "(1, 2)"])
def test_a_marked_answer_is_found_again(form, answer):
    assert answers(f"Let me see.\n{mark(answer, form)}", form)[-1].removesuffix(".") == answer


@pytest.mark.parametrize("text", ["\\boxed{" * 150_000, "}" * 10**6, "answer is" + " " * 10**6])
@pytest.mark.parametrize("form", list(Form))
def test_looking_for_an_answer_is_linear_in_the_text(text, form):
    assert len(answers(text, form)) <= 1


def test_rewards_of_right_and_wrong_can_be_chosen():
    reward = Math(right=2.0, wrong=-1.0)
    problem = Problem(id="", prompt="", answer="4")
    assert [reward(problem, text).reward for text in ("\\boxed{4}", "\\boxed{5}", "")] == [
        2,
        -1,
        -1,
    ]
    assert reward.maximum == 2.0


@pytest.mark.parametrize(
    ("settings_", "complaint"),
    [
        ({"form": "bocks"}, "form='bocks' is no way to mark an answer; take one of box"),
        ({"right": 0.0}, "a right answer must earn more"),
        ({"wrong": float("nan")}, "a right answer must earn more"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings_, complaint):
    with pytest.raises(ValueError, match=complaint):
        Math(**settings_)


def test_plain_answers_are_graded_without_importing_computer_algebra():
    script = (
        "import sys\n"
        "from rlvr.rewards.math import equivalent, grade\n"
        "assert grade('1/2', 'so \\\\boxed{0.5}').reward == 1\n"
        "assert not equivalent('(1,2)', '(2,1)')\n"
        "assert 'sympy' not in sys.modules and 'math_verify' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=60)
