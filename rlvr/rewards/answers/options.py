"""The options of a multiple-choice problem."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any, cast

from rlvr.rewards.answers.marked import spelled
from rlvr.rewards.json_io import parse
from rlvr.types import Problem

MAX_PROMPT = 100_000
"""Characters from the end of a prompt in which options are looked for."""
MAX_RUNS = 20
"""Letters A in it that may begin them, from the last one back."""

_WRAPPED = re.compile(r"\\(?:text(?:bf|it|rm)?|math(?:rm|bf|it)|mbox|boxed)\s?\{([^{}]*)\}")
_SPACE = re.compile(r"\\(?:q?quad(?![a-z])|[ ,;!])|~")
_NOISE = re.compile(r"\\[()]|\\(?:left|right)(?![a-z])|\$|\*\*")
_MARK = re.compile(r"(?:^|(?<=[\s.;,]))(?:\(([A-Z])\)|([A-Z])[).:])", re.MULTILINE)
_OWN_MARK = re.compile(r"\s*(?:\(([A-Z])\)|([A-Z])[).:])\s*")


def options_of(problem: Problem, column: str) -> Mapping[str, str]:
    """Texts by letter: from the column, or from ``choices``, else from the prompt; else empty."""
    for name in (column, "choices"):
        if name in problem.extra:
            return _of_column(problem.extra[name])
    prompt = problem.prompt
    asked = prompt if isinstance(prompt, str) else "\n".join(turn.content for turn in prompt)
    return in_prompt(asked[-MAX_PROMPT:])


def in_prompt(text: str) -> Mapping[str, str]:
    """The longest run of options A, B, ... in a text, of equals the last, as ``A) red``,
    ``(A) red`` or ``A. red``, on lines of their own or one after the other; empty where there is
    none."""
    text = plain_lines(text)
    marks = [(m[1] or m[2], m.start(), m.end()) for m in _MARK.finditer(text)]
    starts = [place for place, mark in enumerate(marks) if mark[0] == "A"]
    longest: Mapping[str, str] = {}
    for start in starts[-MAX_RUNS:]:
        found = _run(text, marks[start:])
        if len(found) >= max(len(longest), 2) and all(map(spelled, found.values())):
            longest = found
    return longest


def _run(text: str, marks: Sequence[tuple[str, int, int]]) -> Mapping[str, str]:
    """The options from the first mark on; marks out of turn belong to an option's text."""
    run: list[tuple[str, int, int]] = []
    for mark in marks:
        if len(run) < len(ascii_uppercase) and mark[0] == ascii_uppercase[len(run)]:
            run.append(mark)
    ends = [start for _, start, _ in run[1:]] + [len(text)]
    found = {letter: text[after:end] for (letter, _, after), end in zip(run, ends, strict=True)}
    last = run[-1][0]
    found[last] = found[last].strip().partition("\n")[0]
    return {letter: option.strip(" \t\n;,") for letter, option in found.items()}


def plain(text: str) -> str:
    """Without the marks of LaTeX and markdown around words, in half-width characters."""
    return " ".join(plain_lines(text).split()).strip()


def plain_lines(text: str) -> str:
    """As ``plain``, its lines kept apart."""
    text = unicodedata.normalize("NFKC", text)
    for _ in range(2):
        text = _WRAPPED.sub(r" \1 ", text)
    return _NOISE.sub("", _SPACE.sub(" ", text))


def _of_column(value: Any) -> Mapping[str, str]:
    if isinstance(value, str):
        value = parse(value)
    if isinstance(value, Mapping):
        named = cast(Mapping[str, Any], value)
        if "text" in named and "label" in named:
            return {str(k): str(v) for k, v in zip(named["label"], named["text"], strict=True)}
        letters = [str(letter).strip("() .").upper() for letter in named]
        if not set(letters) <= set(ascii_uppercase):
            letters = list(ascii_uppercase[: len(letters)])
        return {k: str(option) for k, option in zip(letters, named.values(), strict=False)}
    if isinstance(value, Sequence) and not isinstance(value, str):
        texts = [str(option) for option in cast(Sequence[Any], value)]
        return dict(zip(ascii_uppercase, _without_marks(texts), strict=False))
    return {}


def _without_marks(texts: Sequence[str]) -> Sequence[str]:
    """The texts without ``A)``, ``B)``, ... where they all carry their own."""
    marks = [_OWN_MARK.match(text) for text in texts]
    named = [mark[1] or mark[2] for mark in marks if mark]
    if named != list(ascii_uppercase[: len(texts)]):
        return texts
    return [text[mark.end() :] for text, mark in zip(texts, marks, strict=True) if mark]
