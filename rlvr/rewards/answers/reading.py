"""What an answer can be read as."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from rlvr.rewards.answers.clean import WORD, clean
from rlvr.rewards.answers.syntax import parse
from rlvr.rewards.answers.tokens import Unreadable, tokens
from rlvr.rewards.answers.tree import EMPTY, REALS, Measured, Node, Words
from rlvr.rewards.answers.vocabulary import FUNCTIONS, GREEK, SMALL_WORDS

_CURRENCY = re.compile(r"(?P<sign>-?) ?(?P<currency>[$£€¥₹]) ?(?P<amount>[-\d.].*)")
_CURRENCY_BEHIND = re.compile(r"(?P<amount>.*[\d.)]) ?(?P<currency>[$£€¥₹¢])")
_THOUSANDS = re.compile(r"\d,\d{3}(?!\d)")
_DECIMAL_COMMA = re.compile(
    r"(?P<lead>[^\d,()\[\]{}]*)(?P<whole>\d+),(?P<behind>\d+)(?P<rest>[^\d,()\[\]{}]*)"
)
_TIME = re.compile(rf"(\d\d?)(?: ?: ?(\d\d))?(?: ?: ?00)? ?{WORD}?([ap])m", re.IGNORECASE)
_MONTHS = frozenset(
    [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ]
)
_ORDINAL = re.compile(r"(?<=\d) ?(?:st|nd|rd|th)\b")
_WHOLE_NUMBER = re.compile(r"-?\d{1,3}(?:,\d{3})+")
_SHORT_UNIT = re.compile(r"[\d)}\s][A-Za-z]{1,4}\b")
_PIECE = re.compile(r"[^\W\d_]+|\d+(?:\.\d+)?|[+*/^<>=!|\[\]]|-(?= ?[\d.\\])")
_ARTICLES = frozenset({"a", "an", "the"})
_SPECIAL = {
    **dict.fromkeys(
        (
            "no solution",
            "no solutions",
            "no real solution",
            "no real solutions",
            "no such solution",
            "empty set",
            "there is no solution",
            "there are no solutions",
            "none",
            "nosolution",
        ),
        EMPTY,
    ),
    **dict.fromkeys(
        (
            "all real numbers",
            "all reals",
            "any real number",
            "every real number",
            "real numbers",
            "set of all real numbers",
            "set of real numbers",
            "all real x",
        ),
        REALS,
    ),
    **dict.fromkeys(
        ("undefined", "dne", "does not exist", "doesn't exist", "not defined"), Words("undefined")
    ),
}
_NUMERALS = {
    word: str(number)
    for number, word in enumerate(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
            "twenty",
        ]
    )
}
_RELATIONS = tuple(
    (re.compile(rf"\b(?:is |are )?{pattern}(?: than| to)?\b", re.IGNORECASE), becomes)
    for pattern, becomes in (
        (r"(?:strictly )?(?:greater|more|larger) than or equal", r"\\ge "),
        (r"(?:less|smaller|fewer) than or equal", r"\\le "),
        (r"strictly (?:greater|more|larger)", ">"),
        (r"(?<=\w )(?:greater|larger)", ">"),
        (r"(?<=\w )(?:less|smaller)", "<"),
        (r"not equal", r"\\ne "),
        (r"(?<=\w )(?:at least|no less)", r"\\ge "),
        (r"(?<=\w )(?:at most|no more)", r"\\le "),
    )
)


_QUANTIFIED = re.compile(
    rf",? {WORD}?(?:for {WORD}?(?:all|any|every|each|some)|where|with) .*|,? \\forall .*", re.DOTALL
)


class Reading(NamedTuple):
    """An answer in one spelling, and what it is."""

    spelled: str
    words: str
    """Its words, numbers and signs alone, in lower case and without articles."""
    tree: Node | None
    """None where it is neither mathematics nor a known phrase."""
    has_prose: bool
    problem: str = ""
    """Why there is no tree."""


@lru_cache(maxsize=4096)
def read(answer: str, *, units: bool = True, grouped: bool = True) -> Reading:
    """The answer, read once; see ``tokens`` for the two choices."""
    spelled = clean(answer)
    words = _in_words(spelled)
    special = _SPECIAL.get(words)
    if special is not None and spelled:
        return Reading(spelled, words, special, False)
    prose = has_prose(spelled)
    try:
        tree = _tree(spelled, units, grouped, prose)
    except Unreadable as reason:
        return Reading(spelled, words, None, prose, str(reason))
    return Reading(spelled, words, tree, prose)


def _in_words(spelled: str) -> str:
    text = spelled.replace(WORD, "").casefold()
    words = [word for word in _PIECE.findall(text) if word not in _ARTICLES]
    if not _MONTHS.isdisjoint(words):
        words = sorted(_PIECE.findall(_ORDINAL.sub("", text)))  # 5 March, March 5th
    return " ".join(words)


def is_ambiguous(spelled: str) -> tuple[bool, bool]:
    """Whether ``units`` and ``grouped`` can make a difference."""
    grouped = _THOUSANDS.search(spelled) and not _WHOLE_NUMBER.fullmatch(spelled)
    return bool(_SHORT_UNIT.search(spelled)), bool(grouped)


def decimal_comma(spelled: str) -> str | None:
    """``3,14`` as 3.14, where that is how it may be meant."""
    match = _DECIMAL_COMMA.fullmatch(spelled)
    if match is None:
        return None
    plain = not has_prose(spelled)
    if match["whole"] != "0" and (len(match["behind"]) == 3 or (plain and match["behind"] < "10")):
        return None
    return f"{match['lead']}{match['whole']}.{match['behind']}{match['rest']}"


_LETTERS = re.compile(r"(?<![\\A-Za-z_{])[A-Za-z]{2,}|\ue001[^\W\d_]{2,}|[^\W\d_a-zA-Z\ue001]+")


def has_prose(spelled: str) -> bool:
    """Whether words stand in it."""
    return any(
        not word.isascii() or word[0] == WORD or len(word) >= 4 or word.lower() in SMALL_WORDS
        for word in _LETTERS.findall(spelled)
        if word.lower() not in FUNCTIONS and word.lower() not in GREEK
    )


def _tree(spelled: str, units: bool, grouped: bool, prose: bool) -> Node:
    clock = _TIME.fullmatch(spelled)
    if clock is not None:
        hour, minute = int(clock[1]), int(clock[2] or 0)
        return Words(f"{hour}:{minute:02} {clock[3].lower()}m")
    text, currency = _without_currency(spelled)
    if prose:
        for pattern, becomes in _RELATIONS:
            text = pattern.sub(becomes, text)
        text = _QUANTIFIED.sub("", _numerals(text))
    if not text:
        raise Unreadable("it is empty")
    found = parse(tokens(text, units=units, grouped=grouped))
    if currency and not isinstance(found, Measured):
        return Measured(found, currency)
    return found


def _numerals(text: str) -> str:
    word = text.replace(WORD, "").strip().casefold()
    head, _, rest = word.partition(" ")
    if head in _NUMERALS:
        return f"{_NUMERALS[head]} {rest}"
    return text


def _without_currency(spelled: str) -> tuple[str, str]:
    match = _CURRENCY.fullmatch(spelled)
    if match is not None:
        return match["sign"] + match["amount"], match["currency"]
    match = _CURRENCY_BEHIND.fullmatch(spelled)
    return (match["amount"], match["currency"]) if match else (spelled, "")
