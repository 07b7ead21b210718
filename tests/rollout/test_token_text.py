"""Completions between tokens and text, on a tokenizer whose letters may span tokens."""

import pytest

from rlvr.rollout.cuts import Lines, step_ends
from rlvr.rollout.token_text import TokenText
from rlvr.tiny import byte_tokenizer

TEXT = "x² = 4\n\nWait, 北京.\n</think> 2"


@pytest.fixture(scope="module")
def tokenizer():
    return byte_tokenizer()


@pytest.fixture(scope="module")
def token_text(tokenizer, tmp_path_factory):
    directory = tmp_path_factory.mktemp("saved")
    tokenizer.save_pretrained(directory)
    return TokenText(str(directory))


def test_text_and_its_ids_are_each_other(token_text):
    assert token_text.text(token_text.ids(TEXT)) == TEXT
    assert token_text.text(()) == "" and token_text.ids("") == ()


def test_special_tokens_have_no_text(token_text, tokenizer):
    ids = (*token_text.ids("4"), tokenizer.eos_token_id)
    assert token_text.text(ids) == "4"
    assert token_text.pieces(ids) == ["4", ""]


def test_every_token_has_a_piece_even_where_a_letter_has_several(token_text):
    ids = token_text.ids(TEXT)
    assert len(ids) > len(TEXT)
    assert len(token_text.pieces(ids)) == len(ids)


def test_cuts_found_in_pieces_are_cuts_of_the_text(token_text):
    ids = token_text.ids(TEXT)
    ends = step_ends(token_text.pieces(ids), [Lines()])
    assert [token_text.text(ids[:end]) for end in ends] == ["x² = 4\n\n", "x² = 4\n\nWait, 北京.\n"]
