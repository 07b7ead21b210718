"""Texts such as a model writes, made out of a reference: right, wrong, and hard to read.

reference -> under each usual mark: right ... and wrong ...; empty, blank, huge, unicode, nested
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

MARKS: Mapping[str, str] = MappingProxyType(
    {
        "box": "So the answer is $\\boxed{%s}$.",
        "hashes": "So we are done.\n#### %s",
        "tag": "<think>\nLet me see.\n</think>\n<answer>%s</answer>",
        "tagged box": "<think>\nLet me see.\n</think>\n<answer>\\boxed{%s}</answer>",
        "words": "Let me see.\n\nThe answer is %s",
        "line": "Let me see.\nAnswer: %s",
        "bare": "%s",
    }
)
"""How final answers are marked; ``%s`` stands for the answer."""
WRONG = "-31415926"
"""An answer that no data set has."""
_MEGABYTE = 2**20


def right(answer: str) -> dict[str, str]:
    """The reference under each mark."""
    return {mark: pattern % answer for mark, pattern in MARKS.items()}


def wrong(answer: str) -> dict[str, str]:
    """Another answer under each mark; none that looks like the reference in part."""
    other = WRONG if answer.strip() != WRONG else "27182818"
    return {mark: pattern % other for mark, pattern in MARKS.items()}


def hard() -> dict[str, str]:
    """Texts with no answer in them that graders are known to stumble over."""
    return {
        "empty": "",
        "blank": " \n\t\n ",
        "huge": "Let me think about that once more. " * (_MEGABYTE // 35),
        "unicode": "答案是許多。 الجواب \u202erebmun\u202c 🤖 e\u0301 \x00 \ud800 ７７７７７７７ ½",  # noqa: RUF001
        "nested": "\\boxed{" * 5000 + "9717^{9717^{9717^{9717}}}",
    }
