"""Where a completion may be cut into steps, in tokens."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol


class Boundaries(Protocol):
    """Finds where steps of a text end, as offsets into it, in any order."""

    def __call__(self, text: str) -> Sequence[int]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Paragraphs:
    """A step ends with the blank lines behind it."""

    def __call__(self, text: str) -> Sequence[int]:
        return [found.end() for found in re.finditer(r"\n\s*\n", text)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """A step ends with its line, and with the blank lines behind it."""

    def __call__(self, text: str) -> Sequence[int]:
        return [found.end() for found in re.finditer(r"\n(?:\s*\n)?", text)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconsiderations:
    """A step ends where the text turns to another thought, before one of ``words``.

    Capitals count, so that a "wait" inside a sentence is none.
    """

    words: Sequence[str] = ("Wait", "Alternatively")

    def __post_init__(self) -> None:
        if isinstance(self.words, str) or not self.words or not all(self.words):
            raise ValueError(
                f"words={self.words!r}: they are what a new thought begins with; give a list of at "
                "least one, none of them empty, such as [Wait, Alternatively]"
            )

    def __call__(self, text: str) -> Sequence[int]:
        words = "|".join(map(re.escape, self.words))
        # Cut before the space in front: most tokenizers make one token of it and the word.
        return [
            _without_space_before(found.start(), text)
            for found in re.finditer(rf"(?<!\w)(?:{words})(?!\w)", text)
        ]


def step_ends(pieces: Sequence[str], boundaries: Sequence[Boundaries]) -> list[int]:
    """Tokens up to the end of each step but the last, ascending.

    ``pieces`` are the texts of the tokens, one each. A boundary inside a token counts behind it,
    and a step of white space alone is none.
    """
    text = "".join(pieces)
    ends = list(accumulate(map(len, pieces)))
    last = len(text.rstrip())
    found: list[int] = []
    begin = 0
    for offset in sorted({offset for finds in boundaries for offset in finds(text)}):
        if begin < offset < last:
            token = bisect_left(ends, offset)
            if ends[token] < last and not text[begin : ends[token]].isspace():
                found.append(token + 1)
                begin = ends[token]
    return found


def prefixes(pieces: Sequence[str], boundaries: Sequence[Boundaries], cuts: int) -> list[int]:
    """Tokens before each of at most ``cuts`` episodes, ascending, the first 0.

    Where there are more steps than that, an episode has several, and none has two more than
    another.
    """
    ends = step_ends(pieces, boundaries)
    steps = len(ends) + 1
    if steps > cuts:
        ends = [ends[steps * episode // cuts - 1] for episode in range(1, cuts)]
    return [0, *ends]


def tokens_before(marker: str, pieces: Sequence[str]) -> int | None:
    """Tokens that end before ``marker`` begins for the first time; None where it does not."""
    offset = "".join(pieces).find(marker)
    if offset < 0:
        return None
    return sum(end <= offset for end in accumulate(map(len, pieces)))


def _without_space_before(offset: int, text: str) -> int:
    while offset and text[offset - 1].isspace():
        offset -= 1
    return offset
