"""Arithmetic that is read and never run."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr.puzzles.arithmetic import evaluated


@pytest.mark.parametrize(
    ("text", "value", "numbers"),
    [
        ("7", 7, [7]),
        ("2 + 3 * 4", 14, [2, 3, 4]),
        ("(2+3)*4", 20, [2, 3, 4]),
        ("10 - 4 - 3", 3, [10, 4, 3]),
        ("8 / 3 / 2", Fraction(4, 3), [8, 3, 2]),
        ("-3 + 5", 2, [3, 5]),
        ("2 * -3", -6, [2, 3]),
        ("[2 + 3] \N{MULTIPLICATION SIGN} 4 ÷ 2 \N{MINUS SIGN} 1", 9, [2, 3, 4, 2, 1]),
        ("8/(3-8/3)", 24, [8, 3, 8, 3]),
    ],
)
def test_the_value_is_exact_and_the_numbers_are_told(
    text: str, value: Fraction, numbers: list[int]
):
    assert evaluated(text) == (value, numbers)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2 +",
        "(2 + 3",
        "2 + 3)",
        "2 3",
        "2 ** 3",
        "2 // 3",
        "6 * 4 = 24",
        "1 / 0",
        "1 / (2 - 2)",
        "1.5 * 2",
        "x + 1",
        "__import__('os').getpid()",
        "\N{ARABIC-INDIC DIGIT THREE}",
        "9" * 10,
        "(" * 200 + "1" + ")" * 200,
        "-" * 300 + "1",
        "1+" * 10**6 + "1",
    ],
)
def test_what_is_no_plain_arithmetic_has_no_value(text: str):
    assert evaluated(text) is None


@settings(max_examples=200, deadline=None, database=None)
@given(st.text(st.sampled_from("0123456789+-*/() "), max_size=40))
def test_any_text_is_read_as_python_would_or_not_at_all(text: str):
    read = evaluated(text)
    if read is not None:
        # Python wants no zeros in front, and reads 1//2 and 1**2 as other operations.
        assert "**" not in text and "//" not in text
        tokens = text.replace("(", " ( ").replace(")", " ) ")
        for operator in "+-*/":
            tokens = tokens.replace(operator, f" {operator} ")
        exact = " ".join(f"Fraction({int(t)})" if t.isdigit() else t for t in tokens.split())
        assert read[0] == eval(exact, {"Fraction": Fraction})
