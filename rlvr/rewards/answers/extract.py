"""Finds the answer in what a model wrote."""

from __future__ import annotations

import re
from enum import StrEnum


class Form(StrEnum):
    r"""How an answer is marked: ``\boxed{4}``, ``<answer>4</answer>``, ``#### 4`` or
    ``the answer is 4``."""

    BOX = "box"
    ANSWER_TAG = "answer_tag"
    HASHES = "hashes"
    PHRASE = "phrase"


LOOKED_AT = 200_000
"""Characters: finding boxes takes a microsecond for each, and hostile texts are made of them."""

# Twice the backslash is what JSON leaves behind.
_BOX_PARTS = re.compile(r"\\{1,2}(?:boxed|fbox)\s*(?P<open>\{)|\\.|[{}]", re.DOTALL)
_BARE_BOX = re.compile(r"\\boxed(?:[ \t]+(?P<spaced>[^\s{}$]+)|(?P<answer>\w+))")
_PLACEHOLDER = re.compile(
    r"[\s<$\[{(]*(?:(?:your|the|insert|put|final|numerical|correct|my|here|is|letter|of|choice)[\s_]*)*"
    r"(?:answer|result|solution|here|value|option)[\s_]*(?:here)?[\s>$\]}).]*"
    r"|(?:\.|\\[lc]?dots|\u2026|_|\?|\\square|\\Box|\\[,;:! ]|\\text\s*\{\s*\}|[\s~{}])*",
    re.IGNORECASE,
)
_BETWEEN = re.compile(
    r"(?:[\s$.,;:*\-\u2022&]|\\[\[\]()\\,;:! ]|\\q?quad|\\text\s*\{|\}|\b(?:and|or|either|also|"
    r"alternatively|possibly|perhaps|maybe|otherwise)\b)*",
    re.IGNORECASE,
)
_HEDGE = re.compile(r"\b(?:and|or|either|alternatively|possibly|perhaps|maybe)\b", re.IGNORECASE)
_CONCLUSION = re.compile(
    r"=|\b(?:so|thus|hence|therefore|then|gives?|giving|yields?|finally|no|actually|wait)\b",
    re.IGNORECASE,
)
_MAX_BETWEEN = 80
_MAX_CLOSING = 64
_HASHES = re.compile(r"####[ \t]*(?P<answer>[^\n]*)")
_PHRASE = re.compile(r"\banswer(?:\s{1,3}is\b|\s{0,3}:)(?P<answer>[^\n]*)", re.IGNORECASE)
_HOPE = re.compile(r"\bI hope it is correct", re.IGNORECASE)


def after_thinking(text: str) -> str | None:
    """What follows the last ``</think>``; None where the thinking never ended.

    A template may open the thought inside the prompt, so a lone ``</think>`` ends one too.
    """
    _, ended, said = text.rpartition("</think>")
    return None if "<think>" in said else said if ended else text


def answers(text: str, form: Form = Form.BOX) -> tuple[str, ...]:
    """Candidates on the last line that has any, in order: the last one is the answer.

    Empty where the text marks no answer. Takes time linear in the text; boxes are looked for in
    its last ``LOOKED_AT`` characters.
    """
    match form:
        case Form.BOX:
            return _closing_boxes(text[-LOOKED_AT:])
        case Form.ANSWER_TAG:
            return _nonempty(_last_tag(text))
        case Form.HASHES:
            return _nonempty(_last_match(_HASHES, text))
        case Form.PHRASE:
            return _nonempty(_phrase(text))


def mark(answer: str, form: Form = Form.BOX) -> str:
    """A text that gives ``answer`` in the given form; ``answers`` finds it again."""
    match form:
        case Form.BOX:
            return f"\\boxed{{{answer}}}"
        case Form.ANSWER_TAG:
            return f"<answer>{answer}</answer>"
        case Form.HASHES:
            return f"#### {answer}"
        case Form.PHRASE:
            return f"The final answer is: {answer}"


def unboxed(answer: str) -> str:
    r"""The content of the last ``\boxed{...}`` in it, or all of it where there is none."""
    boxes = _boxes(answer)
    return answer[slice(*boxes[-1])].strip() if boxes else answer


def _closing_boxes(text: str) -> tuple[str, ...]:
    """Boxes of the last line that has any, and those before it with nothing but a comma or an
    ``or`` between; empty ones and those that echo the prompt are none."""
    boxes = _boxes(text)
    found: list[tuple[int, int]] = []
    line = 0
    for start, end in reversed(boxes):
        if _is_placeholder(text[start:end]):
            continue
        if not found:
            line = text.rfind("\n", 0, start)
        else:
            between = text[end + 1 : found[-1][0]]
            beside = start > line and not _concludes(between)
            if len(found) == _MAX_CLOSING or not (beside or _goes_on(between)):
                break
        found.append((start, end))
    if not found:
        return _nonempty(_last_match(_BARE_BOX, text))
    return tuple(unboxed(text[start:end].strip()) for start, end in reversed(found))


def _is_placeholder(content: str) -> bool:
    if not content:
        return True
    bare = _WRAPPED.sub(r"\1", content[:60])
    return len(content) <= 60 and _PLACEHOLDER.fullmatch(bare.strip()) is not None


_WRAPPED = re.compile(r"\\(?:text|mathrm|textbf)\s*\{([^{}]*)\}")


def _concludes(between: str) -> bool:
    """Whether the box behind it follows from the one before, rather than stands beside it."""
    return _HEDGE.search(between) is None and _CONCLUSION.search(between) is not None


def _goes_on(between: str) -> bool:
    """Whether a box follows another as if both were the answer."""
    said = between.rpartition("\\boxed")[0] or between.rpartition("\\fbox")[0] or between
    return len(said) <= _MAX_BETWEEN and _BETWEEN.fullmatch(said) is not None


def _boxes(text: str) -> list[tuple[int, int]]:
    """Spans of the contents of balanced boxes that lie in no other box, in order.

    One pass with a stack: a search from every opening would be quadratic on hostile text.
    """
    if "boxed" not in text and "fbox" not in text:
        return []
    opened: list[int | None] = []
    spans: list[tuple[int, int]] = []
    for part in _BOX_PARTS.finditer(text):
        if part["open"]:
            opened.append(part.end())
        elif part[0] == "{":
            opened.append(None)
        elif part[0] == "}" and opened:
            start = opened.pop()
            if start is not None:
                while spans and spans[-1][0] > start:
                    spans.pop()
                spans.append((start, part.start()))
    return spans


def _last_tag(text: str) -> str:
    end = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, max(end, 0))
    return unboxed(text[start + len("<answer>") : end]) if start >= 0 else ""


def _last_match(pattern: re.Pattern[str], text: str) -> str:
    answer = ""
    for match in pattern.finditer(text):
        answer = next(filter(None, match.groups()), "")
    return answer


def _phrase(text: str) -> str:
    said = _HOPE.split(_last_match(_PHRASE, text))[0].strip(" \t:*")
    return unboxed(said.removesuffix("."))


def _nonempty(answer: str) -> tuple[str, ...]:
    stripped = answer.strip()
    return (stripped,) if stripped else ()
