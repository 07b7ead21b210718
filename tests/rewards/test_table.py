import pytest

from rlvr.rewards.table import Table
from rlvr.types import Outcome, Problem


def outcome(gold, text, **settings):
    return Table(**settings)(Problem(id="p", prompt="", answer=gold), text).outcome


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("1234.5", "1,234.5"),
        ("1234.5", "$1,234.50"),
        ("1234.5", "\\$1234.5"),
        ("1234.5", "$1234.5$"),
        ("1234.5", "1234.0"),
        ("-12", "(12)"),
        ("-12", "\u221212"),
        ("-12", "-$12"),
        ("0.125", "12.5%"),
        ("12.5", "12.5%"),
        ("12.5", "12.5\\%"),
        ("0.5", ".5"),
        ("5", "5."),
        ("1500", "1.5e3"),
        ("3.14159", "3.14"),
        ("Paris", "paris"),
        ("New York", "\\text{New  York}"),
        ("yes", "Yes."),
    ],
)
def test_parts_agree_however_they_are_written(a, b):
    assert outcome(a, f"\\boxed{{{b}}}") is Outcome.CORRECT
    assert outcome(b, f"\\boxed{{{a}}}") is Outcome.CORRECT


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("1234.5", "1236"),
        ("12", "-12"),
        ("0.5", "5"),
        ("0", "0.0001"),
        ("2019", "2020"),
        ("12345", "12346"),
        ("12", "12 apples"),
        ("Paris", "Paris, France"),
        ("125", "12.5%"),
        ("1", "1e999"),
        ("1e308", "1e309"),
    ],
)
def test_parts_that_differ_are_wrong(a, b):
    assert outcome(a, f"\\boxed{{{b}}}") is Outcome.WRONG
    assert outcome(b, f"\\boxed{{{a}}}") is Outcome.WRONG


def test_the_tolerance_is_a_share_of_the_larger_number():
    assert outcome("1000.0", "\\boxed{1001.0}") is Outcome.CORRECT
    assert outcome("1000.0", "\\boxed{1001.1}") is Outcome.WRONG
    assert outcome("1000.0", "\\boxed{1000.1}", tolerance=0) is Outcome.WRONG
    assert outcome("2019", "\\boxed{2020}", exact_integers=False) is Outcome.CORRECT


@pytest.mark.parametrize("gold", ["12|Paris|3.5", '[12, "Paris", 3.5]'])
@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{12, Paris, 3.5}",
        "\\boxed{12|Paris|3.5}",
        "\\boxed{12; Paris; 3.5}",
        "\\boxed{12, Paris and 3.5}",
        '\\boxed{[12, "Paris", 3.5]}',
        "\\boxed{[12, Paris, 3.5]}",
        "\\boxed{12}, \\boxed{Paris}, \\boxed{3.5}",
    ],
)
def test_all_parts_must_agree_in_their_order(gold, text):
    assert outcome(gold, text) is Outcome.CORRECT
    assert outcome(gold, text.replace("12", "13")) is Outcome.WRONG
    assert outcome(gold, text.replace("Paris", "Rome")) is Outcome.WRONG
    assert outcome("Paris|12|3.5", text) is Outcome.WRONG
    assert outcome("12|Paris", text) is Outcome.WRONG
    assert outcome("12", text) is Outcome.WRONG


def test_commas_of_thousands_part_nothing_unless_the_parts_would_be_too_few():
    assert outcome("1234|5", "\\boxed{1,234, 5}") is Outcome.CORRECT
    assert outcome("100|200", "\\boxed{100,200}") is Outcome.CORRECT
    assert outcome("100200", "\\boxed{100,200}") is Outcome.CORRECT


def test_one_number_said_twice_is_no_hedge_but_two_are():
    assert outcome("12", "\\boxed{12} = \\boxed{12.0}") is Outcome.CORRECT
    assert outcome("12", "\\boxed{12} or \\boxed{13}") is Outcome.WRONG
    assert outcome("12", "\\boxed{13} or \\boxed{12}") is Outcome.WRONG


def test_no_mark_is_no_answer_and_an_empty_reference_judges_nothing():
    assert outcome("12", "12") is Outcome.NO_ANSWER
    assert outcome("12", "<think>\\boxed{12}") is Outcome.NO_ANSWER
    for gold in ("", "12|", "[]", '[""]'):
        assert outcome(gold, "\\boxed{12}") is Outcome.GOLD_UNPARSED


@pytest.mark.parametrize("gold", ["12", "1,234.5", "Paris", "12|Paris", '[1, 2, "x"]'])
def test_its_own_example_is_accepted(gold):
    reward, problem = Table(), Problem(id="p", prompt="", answer=gold)
    assert reward(problem, reward.example(problem)).reward == reward.maximum


@pytest.mark.parametrize("tolerance", [-1e-3, 0.1, float("nan")])
def test_a_tolerance_that_cannot_work_is_refused(tolerance):
    with pytest.raises(ValueError, match="take one from 0"):
        Table(tolerance=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer",
    [
        "9" * 10**6,
        "1," * 500_000,
        "1,234" * 200_000,
        "$" * 10**6,
        "\\text{" * 150_000,
        "(" * 10**6,
        " and " * 200_000,
        "." * 10**6,
        "1" + " " * 10**6 + "%",
        "[" * 10**6,
    ],
)
@pytest.mark.parametrize("gold", ["12", "12|13"])
def test_a_megabyte_takes_linear_time(gold, answer):
    assert outcome(gold, f"\\boxed{{{answer}}}") in (Outcome.WRONG, Outcome.NO_ANSWER)


def test_an_answer_that_is_repeated_without_end_is_one_answer():
    assert outcome("12", "\\boxed{12}" * 100_000) is Outcome.CORRECT
