"""Where completions are cut, in tokens."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlvr.rollout.cuts import (
    Lines,
    Paragraphs,
    Reconsiderations,
    prefixes,
    step_ends,
    tokens_before,
)


def steps(text, boundaries):
    """The text cut at every boundary, with one token per character."""
    ends = [0, *step_ends(list(text), [boundaries]), len(text)]
    return [text[a:b] for a, b in pairwise(ends)]


def test_paragraphs_end_with_their_blank_lines():
    text = "one\ntwo\n\nthree\n \n\nfour\n\n"
    assert steps(text, Paragraphs()) == ["one\ntwo\n\n", "three\n \n\n", "four\n\n"]


def test_lines_end_with_the_blank_lines_behind_them():
    assert steps("one\ntwo\n\n  three", Lines()) == ["one\n", "two\n\n", "  three"]


def test_a_new_thought_begins_with_the_space_before_its_word():
    text = "so 4. Wait, no.\nAlternatively 5; Waiting, or wait, is none"
    assert steps(text, Reconsiderations()) == [
        "so 4.",
        " Wait, no.",
        "\nAlternatively 5; Waiting, or wait, is none",
    ]


def test_the_words_of_a_new_thought_can_be_given_and_stand_for_themselves():
    text = "a Hm. b Hmm c"
    assert steps(text, Reconsiderations(words=["Hm."])) == ["a", " Hm. b Hmm c"]


@pytest.mark.parametrize("words", [(), ("Wait", ""), "Wait"])
def test_words_that_begin_no_thought_are_refused(words):
    with pytest.raises(ValueError, match="give a list of at least one, none of them empty"):
        Reconsiderations(words=words)


def test_white_space_alone_is_no_step():
    assert step_ends(list("\n\none\n\n"), [Paragraphs()]) == []


def test_no_step_ends_before_the_first_token():
    assert step_ends(["Wait", ", ", "no"], [Reconsiderations()]) == []


def test_a_boundary_inside_a_token_counts_behind_it():
    assert step_ends(["one", ".\n\n  tw", "o", "\n\n", "three"], [Paragraphs()]) == [2, 4]


def test_two_boundaries_inside_one_token_make_one_step():
    assert step_ends(["a\nb\n", "c"], [Lines()]) == [1]


def test_all_boundaries_count_and_between_two_there_is_a_word():
    pieces = ["one", ".", "\n\n", "Wait", " two", " Wait", "\n\n", "three"]
    assert step_ends(pieces, [Paragraphs(), Reconsiderations()]) == [2, 5, 7]
    assert step_ends(pieces, [Lines(), Paragraphs()]) == [3, 7]


def test_tokens_without_text_belong_to_the_step_that_they_stand_in():
    assert step_ends(["one", "\n", "", "two", ""], [Lines()]) == [2]


def test_episodes_share_the_steps_as_equally_as_they_can():
    pieces = ["x\n"] * 10
    assert prefixes(pieces, [Lines()], 4) == [0, 2, 5, 7]
    assert prefixes(pieces, [Lines()], 10) == list(range(10))
    assert prefixes(pieces, [Lines()], 99) == list(range(10))
    assert prefixes(pieces, [Lines()], 1) == [0]


@given(
    st.lists(st.sampled_from(["a", " ", "\n", "\n\n", "b\n\nWait", " Wait", ""])), st.integers(1, 6)
)
def test_prefixes_ascend_from_none_and_end_before_the_last_word(pieces, cuts):
    found = prefixes(pieces, [Lines(), Reconsiderations()], cuts)
    assert found[0] == 0 and len(found) <= cuts
    assert found == sorted(set(found))
    assert all("".join(pieces[cut:]).strip() for cut in found[1:])
    assert all("".join(pieces[:cut]).strip() for cut in found[1:])


def test_tokens_before_a_marker_are_those_that_end_by_then():
    assert tokens_before("</think>", ["a", "b\n", "</", "think", ">", "</think>"]) == 2
    assert tokens_before("</think>", ["a", "b</", "think>"]) == 1
    assert tokens_before("</think>", ["</think>", "a"]) == 0
    assert tokens_before("</think>", ["a"]) is None
