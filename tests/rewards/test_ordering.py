import itertools

import pytest

from rlvr.rewards.ordering import Ordering, edits
from rlvr.types import Outcome, Problem

GOLD = '["cat", "dog", "owl"]'


def verdict(gold, answer, **settings):
    problem = Problem(id="p", prompt="", answer=gold)
    return Ordering(**settings)(problem, f"<answer>{answer}</answer>")


@pytest.mark.parametrize(
    "answer",
    [
        GOLD,
        "['Cat', 'Dog', 'Owl']",
        "cat, dog, owl",
        "[cat, dog, owl]",
        "cat -> dog -> owl",
        "cat \u2192 dog \u2192 owl",
        "cat\ndog\nowl",
        "cat < dog < owl",
        f"```\n{GOLD}\n```",
    ],
)
def test_the_list_may_be_written_in_several_ways(answer):
    assert verdict(GOLD, answer).reward == 1
    assert verdict(answer, GOLD).reward == 1


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        ("cat, owl, dog", 1 / 3),
        ("cat, dog", 2 / 3),
        ("cat, dog, owl, cow", 3 / 4),
        ("cow, pig, hen", 0),
        ("dog", 1 / 3),
    ],
)
def test_only_the_exact_list_is_correct_and_the_rest_may_count_in_part(answer, share):
    assert verdict(GOLD, answer).reward == 0
    assert verdict(GOLD, answer).outcome is Outcome.WRONG
    assert verdict(GOLD, answer, partial=True).reward == pytest.approx(share)
    assert verdict(GOLD, answer, partial=True).outcome is Outcome.WRONG
    assert verdict(GOLD, answer).parts == {"order": pytest.approx(share)}


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("flaw", "lawn", 2), ("ab", "ba", 2)],
)
def test_the_distance_is_levenshteins(a, b, distance):
    assert edits(a, b) == edits(b, a) == distance


def test_the_distance_obeys_the_triangle():
    words = ["abc", "acb", "ab", "", "ccab", "bca"]
    for a, b, c in itertools.product(words, repeat=3):
        assert edits(a, c) <= edits(a, b) + edits(b, c)
        assert (edits(a, b) == 0) == (a == b)


def test_no_reference_judges_nothing_and_an_empty_item_is_no_list():
    assert verdict(" ", "cat").outcome is Outcome.GOLD_UNPARSED
    assert verdict("[]", "cat").outcome is Outcome.GOLD_UNPARSED
    assert verdict(GOLD, "cat,,dog,owl").outcome is Outcome.WRONG


def test_its_own_example_is_accepted():
    reward, problem = Ordering(), Problem(id="p", prompt="", answer=GOLD)
    assert reward(problem, reward.example(problem)).reward == reward.maximum


@pytest.mark.parametrize("answer", ["a," * 500_000, "[" + "1," * 400_000 + "1]", "<" * 10**6])
def test_a_megabyte_takes_linear_time(answer):
    assert verdict(GOLD, answer, partial=True).reward == 0
