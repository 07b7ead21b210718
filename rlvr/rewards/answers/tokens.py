"""Cuts a cleaned answer into numbers, names, words and signs."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from rlvr.rewards.answers.clean import WORD
from rlvr.rewards.answers.tree import Num
from rlvr.rewards.answers.vocabulary import (
    CHANGES_VALUE,
    CHATTER_IN_ONE,
    FUNCTIONS,
    GREEK,
    SCALES,
    SEPARATORS,
    SHORT_UNITS,
    SIGNS,
    SMALL_WORDS,
    VERBS,
)

MAX_DIGITS = 1000
"""Longer numbers are not read; `int` is quadratic in them."""
MAX_EXPONENT = 1000
"""Largest power of ten of a number such as 1e9 that is multiplied out."""


class Unreadable(ValueError):
    """An answer that is no mathematics that is known here."""


class Token(NamedTuple):
    """A piece of an answer.

    ``kind`` is ``num``, ``name``, ``func``, ``word``, ``sep``, ``scale``, ``command`` or ``sign``.
    """

    kind: str
    text: str
    spaced: bool
    """Whether a space stands before it."""
    num: Num | None = None


LATIN = r"[A-Za-z\u00c0-\u024f\u1e00-\u1eff]"
_TOKEN = re.compile(
    r"(?P<repeating>\d{0,20}\.\d{0,20}\\overline ?\{ ?\d{1,20} ?\})"
    r"|(?P<recurring>\d{0,20}\.\d{0,6}?(?P<period>\d{1,6}?)(?P=period){2,9} ?\.\.\.)"
    r"|(?P<scientific>(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+(?![A-Za-z\d]))"
    r"|(?P<grouped>[1-9]\d{0,2}(?:(?:,\d{3})+|(?: \d{3})+|(?:\.\d{3}){2,}|(?:'\d{3})+)(?!\d)"
    r"(?:\.\d+)?)"
    r"|(?P<number>\d+\.\d+|\.\d+|\d+(?:\.(?![.\d]))?)"
    r"|(?P<command>\\mathbb\{[RZNQC]\}|\\(?:begin|end) ?\{\w+\*?\}|\\[A-Za-z]+|\\.)"
    rf"|(?P<word>{WORD}[^\W\d_]+(?:['-]{WORD}?[^\W\d_]+)*)"
    rf"|(?P<letters>{LATIN}+)"
    r"|(?P<foreign>[^\W\d_A-Za-z\u00c0-\u024f\u1e00-\u1eff]+)"
    r"|(?P<sign>\*\*|<=|>=|=<|=>|!=|<>|==|->|:=|\.\.\.|\+/-|\+-|-\+|[-+*/^_!%,;:|=<>()\[\]{}&'\"$~]"
    r"|\ue000)"
    r"|(?P<space>\s+)"
    r"|(?P<other>.)",
    re.DOTALL,
)
_SPELLINGS = {
    "**": "^",
    "<=": r"\le",
    "=<": r"\le",
    ">=": r"\ge",
    "!=": r"\ne",
    "<>": r"\ne",
    "==": "=",
    ":=": "=",
    "=>": r"\to",
    "->": r"\to",
    "+/-": r"\pm",
    "+-": r"\pm",
    "-+": r"\mp",
    r"\times": "*",
    r"\cdot": "*",
    r"\ast": "*",
    r"\div": "/",
    r"\land": r"\land",
    r"\wedge": r"\land",
    r"\vee": r"\lor",
    r"\lnot": r"\neg",
    r"\backslash": r"\setminus",
    r"\colon": ":",
    r"\implies": r"\to",
    r"\simeq": r"\approx",
    r"\sim": r"\approx",
    r"\cong": r"\approx",
    r"\lbrace": r"\{",
    r"\rbrace": r"\}",
    r"\prime": "'",
    r"\&": "&",
    r"\_": "_",
    r"\#": " ",
}
_DROPPED = frozenset(
    {r"\displaystyle", r"\,", r"\angle", r"\triangle", r"\vec", r"\hat", r"\bar", r"\overline"}
    | {r"\overrightarrow", r"\overleftrightarrow", r"\widehat", r"\widetilde", r"\tilde"}
    | {r"\boxed", r"\fbox", r"\quad", r"\measuredangle", r"\square", r"\blacksquare"}
    | {r"\mathrm", r"\mathbf", r"\rm", r"\bf", r"\text", r"\mathit", r"\boldsymbol", r"\right"}
    | {r"\left", r"\Box", r"\therefore", r"\because", r"\cal", r"\mathcal", r"\underline"}
)


def tokens(text: str, *, units: bool = True, grouped: bool = True) -> list[Token]:
    """The pieces of a cleaned answer.

    ``units``: whether letters such as ``m`` behind a number are a unit. ``grouped``: whether
    ``1,234`` is one number.

    Raises:
        Unreadable: a number too long, or a character that belongs to no mathematics.
    """
    found: list[Token] = []
    spaced, position = False, 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        assert match is not None  # the last alternative takes any character
        kind, piece = match.lastgroup or "", match[0]
        if kind == "period":
            kind = "recurring"
        if kind == "grouped" and not grouped and "," in piece:
            match = _PLAIN.match(text, position)
            assert match is not None
            kind, piece = "number", match[0]
        position = match.end()
        if kind == "space":
            spaced = True
            continue
        found += _read(kind, piece, spaced, found, units, text[position:])
        spaced = False
    return found


_DENIES = re.compile("[不非没沒無无否]|ない|아니")
_PLAIN = re.compile(r"\d+(?:\.\d+)?")


def _read(
    kind: str, piece: str, spaced: bool, before: list[Token], units: bool, rest: str
) -> list[Token]:
    match kind:
        case "number" | "grouped" | "scientific" | "repeating" | "recurring":
            return [Token("num", piece, spaced, _number(kind, piece))]
        case "command":
            return _command(piece, spaced)
        case "word" | "foreign":
            word = piece.replace(WORD, "")
            if units and word in SHORT_UNITS and _may_be_unit(before, rest):
                return [Token("word", word, spaced)]
            if word.casefold() in VERBS and before and before[-1].kind == "name":
                return [Token("sign", "=", spaced)]
            return _word(word, spaced)
        case "letters":
            return _letters(piece, spaced, before, units, rest)
        case "sign":
            return [Token("sign", _SPELLINGS.get(piece, piece), spaced)] if piece != '"' else []
        case _ if piece == "." and before and before[-1].kind == "word":
            return []  # of an abbreviation
        case _:
            raise Unreadable(f"{piece!r} is no mathematics")


def _command(piece: str, spaced: bool) -> list[Token]:
    if piece in _DROPPED or piece == r"\ ":
        return []
    name = piece[1:]
    if name in FUNCTIONS:
        return [Token("func", FUNCTIONS[name], spaced)]
    if name.lower() in GREEK or name.removeprefix("var").lower() in GREEK:
        return [Token("name", "\\" + name.removeprefix("var"), spaced)]
    if name in ("infty", "emptyset", "ell", "hbar", "forall", "exists") or piece.startswith(
        r"\mathbb"
    ):
        return [Token("name", piece, spaced)]
    spelled = _SPELLINGS.get(piece)
    if spelled is not None:
        return [Token("sign", spelled, spaced)] if spelled.strip() else []
    return [Token("command", piece.replace(" ", ""), spaced)]


def _word(word: str, spaced: bool) -> list[Token]:
    lower = word.casefold()
    if lower in SEPARATORS:
        return [Token("sep", SEPARATORS[lower], spaced)]
    if lower in SCALES:
        return [Token("scale", str(SCALES[lower]), spaced)]
    if lower in SIGNS:
        return [Token("sign", SIGNS[lower], spaced)]
    if len(word) == 1 and word.isascii():
        return [Token("name", word, spaced)]
    if lower in CHANGES_VALUE or _DENIES.search(word):
        raise Unreadable(f"{word!r} changes what stands beside it")
    if lower in ("infinity", "infinite"):
        return [Token("name", r"\infty", spaced)]
    if lower == "pi":
        return [Token("name", r"\pi", spaced)]
    if lower in FUNCTIONS:
        return [Token("func", FUNCTIONS[lower], spaced)]
    if not word.isascii() and CHATTER_IN_ONE.fullmatch(word):
        return [Token("word", "is", spaced)]
    return [Token("word", lower, spaced)]


def _letters(piece: str, spaced: bool, before: list[Token], units: bool, rest: str) -> list[Token]:
    lower = piece.lower()
    if lower in VERBS and before and before[-1].kind == "name":
        return [Token("sign", "=", spaced)]
    if piece == "min" and units and before and before[-1].kind == "num" and not rest.strip():
        return [Token("word", piece, spaced)]
    if lower in FUNCTIONS:
        return [Token("func", FUNCTIONS[lower], spaced)]
    if not piece.isascii():
        return _word(piece, spaced)
    if lower in GREEK:
        return [Token("name", "\\" + lower, spaced)]
    if lower in ("inf", "infinity", "infty", "oo"):
        return [Token("name", r"\infty", spaced)]
    apart_or_long = len(piece) > 1 or spaced or _behind_unit(before)
    if units and piece in SHORT_UNITS and apart_or_long and _may_be_unit(before, rest):
        return [Token("word", piece, spaced)]
    apart = spaced or not before  # e^{it} is no it
    small = apart and (lower in SMALL_WORDS or lower in SEPARATORS)
    if len(piece) >= 4 or small or lower in SCALES:
        return _word(piece, spaced)
    return [Token("name", letter, spaced and not at) for at, letter in enumerate(piece)]


def _may_be_unit(before: list[Token], rest: str) -> bool:
    """Whether letters stand where a unit does: at the end of a value, or behind another unit."""
    if _behind_unit(before):
        return True
    behind_value = bool(before) and (
        before[-1].kind in ("num", "scale") or before[-1].text in (")", "}", "%", r"\pi")
    )
    return behind_value and (not rest.strip() or rest.lstrip()[0] in "/^,;.)*" + WORD)


def _behind_unit(before: list[Token]) -> bool:
    if len(before) > 1 and before[-1].text in ("/", "*"):
        before = before[:-1]
    return bool(before) and before[-1].kind == "word"


def _number(kind: str, piece: str) -> Num:
    if len(piece) > MAX_DIGITS:
        raise Unreadable(f"a number of {len(piece)} digits, more than {MAX_DIGITS}")
    match kind:
        case "scientific":
            mantissa, _, exponent = piece.lower().partition("e")
            if abs(int(exponent)) > MAX_EXPONENT:
                raise Unreadable(f"a power of ten beyond {MAX_EXPONENT}")
            return Num(Fraction(mantissa.rstrip(".")) * Fraction(10) ** int(exponent))
        case "repeating":
            head, _, period = piece.partition(r"\overline")
            return Num(_periodic(head, period.strip(" {}")))
        case "recurring":
            digits = piece.rstrip(". ")
            match = _RECURRING.fullmatch(digits)
            assert match is not None
            return Num(_periodic(match["head"], match["period"]))
        case "grouped":
            piece = _GROUPING.sub("", piece) if piece.count(".") > 1 else _COMMAS.sub("", piece)
        case _:
            pass
    whole, _, behind = piece.partition(".")
    if not behind:
        return Num(Fraction(int(whole)))
    return Num(Fraction(piece), len(behind), len((whole + behind).lstrip("0")))


_GROUPING = re.compile(r"[ ,.']")
_COMMAS = re.compile(r"[ ,']")
_RECURRING = re.compile(r"(?P<head>\d*\.\d{0,6}?)(?P<period>\d{1,6}?)(?P=period){2,}")


def _periodic(head: str, period: str) -> Fraction:
    places = len(head.partition(".")[2])
    start = Fraction("0" + head + "0")
    return start + Fraction(int(period), (10 ** len(period) - 1) * 10**places)
