import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr.rewards.json_io import JsonIO, equal, last_object, parse
from rlvr.types import Outcome, Problem

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


def outcome(gold, text, **settings_):
    return JsonIO(**settings_)(Problem(id="p", prompt="", answer=gold), text).outcome


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"output": 5}', {"output": 5}),
        ('first {"output": 4}, then {"output": 5}.', {"output": 5}),
        ('```json\n{"output": {"a": [1, {"b": 2}]}}\n```', {"output": {"a": [1, {"b": 2}]}}),
        ('{"output": 5} and {"output": 6', {"output": 5}),
        ('{"output": "}{"}', {"output": "}{"}),
        ('{"output": "\\"}"}', {"output": '"}'}),
        ('a 5" pipe, {"output": 5}', {"output": 5}),
        ('{ unclosed, then {"output": 5}', {"output": 5}),
        ('\\boxed{{"output": 5}}', {"output": 5}),
        ('{"output": 5} where f(x) = {x}', {"output": 5}),
        ("{'output': 5}", None),
        ("[1, 2]", None),
        ("}{", None),
        ("", None),
    ],
)
def test_the_last_complete_object_is_found(text, found):
    assert last_object(text) == found


@settings(max_examples=100, deadline=None)
@given(
    st.text(alphabet="ab {}\n[]:,", max_size=30),
    st.dictionaries(st.text(max_size=3), VALUES, max_size=3),
    st.text(alphabet="ab }\n", max_size=30),
)
def test_any_object_is_found_behind_any_prose(before, value, after):
    assert last_object(before + json.dumps(value) + after) == value


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet='{}[]":,\\ 1ae\n', max_size=60))
def test_no_text_makes_the_search_fail(text):
    assert last_object(text) is None or isinstance(last_object(text), dict)


@pytest.mark.parametrize(
    ("gold", "text"),
    [
        ("5", '{"output": 5}'),
        ("5", '{"output": 5.0}'),
        ("5", '{"output": "5"}'),
        ('{"output": 5}', '{"output": 5}'),
        ("[1, [2, 3]]", '{"output": [1, [2, 3]]}'),
        ("[1, 2]", '{"output": "[1, 2]"}'),
        ('{"a": 1, "b": null}', '{"output": {"b": null, "a": 1}}'),
        ("abc", '{"output": "abc"}'),
        ('"abc"', '{"output": " abc "}'),
        ("true", '{"output": true}'),
        ("null", '{"output": null}'),
        ("0.3", '{"output": 0.30000000000000004}'),
        ('{"input": {"n": 3}}', '{"input": {"n": 3}}'),
        ('{"input": 3}', '{"output": 9, "input": 3}'),
        ("3", '{"input": 3}'),
    ],
)
def test_equal_values_are_correct_however_they_are_written(gold, text):
    assert outcome(gold, text) is Outcome.CORRECT


@pytest.mark.parametrize(
    ("gold", "text"),
    [
        ("5", '{"output": 6}'),
        ("1", '{"output": true}'),
        ("0", '{"output": false}'),
        ("0", '{"output": null}'),
        ("[1, 2]", '{"output": [2, 1]}'),
        ("[1, 2]", '{"output": [1, 2, 3]}'),
        ("[1]", '{"output": 1}'),
        ('{"a": 1}', '{"output": {"a": 1, "b": 2}}'),
        ("0.3", '{"output": 0.3001}'),
        ("abc", '{"output": "ABC"}'),
        ("10000000000000000000001", '{"output": 10000000000000000000000}'),
    ],
)
def test_other_values_are_wrong(gold, text):
    assert outcome(gold, text) is Outcome.WRONG


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        '{"result": 5}',
        '<think>{"output": 5}',
        '<think>{"output": 5}</think> done',
        '{"output": NaN}',
        '{"output": 1e999}',
        '{"input": 5}',
    ],
)
def test_a_text_without_the_key_has_no_answer(text):
    assert outcome('{"output": 5}', text) is Outcome.NO_ANSWER


def test_an_empty_reference_judges_nothing():
    assert outcome(" ", '{"output": 5}') is Outcome.GOLD_UNPARSED
    assert outcome('""', '{"output": ""}') is Outcome.CORRECT


@settings(max_examples=80, deadline=None)
@given(VALUES, VALUES)
def test_equality_has_no_direction_and_holds_with_itself(a, b):
    assert equal(a, a)
    assert equal(a, b) == equal(b, a)


@pytest.mark.parametrize("gold", ["5", "[1, 2]", "abc", '{"output": [1]}', '{"input": "x"}', "-3"])
def test_its_own_example_is_accepted(gold):
    reward, problem = JsonIO(), Problem(id="p", prompt="", answer=gold)
    assert reward(problem, reward.example(problem)).reward == reward.maximum
    assert reward(problem, reward.example(replace(problem, answer="-31415926"))).reward == 0


@pytest.mark.parametrize("keys", [[], "output", [""]])
def test_keys_that_cannot_be_looked_up_are_refused(keys):
    with pytest.raises(ValueError, match="give a list of at least one"):
        JsonIO(keys=keys)


def test_what_is_nested_too_deeply_is_not_read():
    assert parse("[" * 40 + "]" * 40) is not parse("[" * 60 + "]" * 60)
    assert not isinstance(parse("[" * 60 + "]" * 60), list)
    assert not isinstance(parse("[" * 100_000 + "]" * 100_000), list)


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "{" * 10**6,
        "}" * 10**6,
        "{}" * 500_000,
        "{x}" * 333_000,
        '{"a":' * 200_000,
        '{"a":' * 200_000 + "1" + "}" * 200_000,
        '{"' * 500_000,
        '{"' + '\\"' * 500_000,
        '{"a":[' + "1," * 450_000,
        '{"output":' + "9" * 10**6 + "}",
        '{"output":"' + "a" * 10**6 + '"}',
        '{"output":[' + "[]," * 300_000 + "[]]}",
        "{" + '"\n' * 500_000,
        '{"output": "' + "[" * 10**6 + '"}',
    ],
)
def test_a_megabyte_takes_linear_time(text):
    assert outcome("5", text) in (Outcome.WRONG, Outcome.NO_ANSWER)
