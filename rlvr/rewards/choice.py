"""Grades multiple choice, by letter or by the text of the option."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rlvr.rewards import math
from rlvr.rewards.answers import extract
from rlvr.rewards.answers.extract import Form
from rlvr.rewards.answers.marked import gold_unparsed, judged, no_answer, spelled
from rlvr.rewards.answers.options import options_of, plain, plain_lines
from rlvr.types import Problem, Verdict

VERIFIER = "choice@1"
MAX_ANSWER = 500
"""Characters; a longer answer names no option."""
MAX_NAMED = 32
"""Phrases or letters alone, from the last one back, that are looked at."""
FORMS = ("box", "answer_tag", "hashes", "phrase", "letter")

_Letters = frozenset[str]
_Options = Mapping[str, str]

_PHRASE = re.compile(
    r"(?:\b(?:answer|option|choice)(?:\s{1,3}(?:is|would be|must be|should be)\b|\s{0,3}:)"
    r"|答案\s{0,3}[是为:]?|选(?!项))(?=(?P<said>[^\n]{0,300}))",
    re.IGNORECASE,
)
_ONE = r"[(\[]?(?-i:[A-Z])(?![A-Za-z'0-9])[)\]]?"
_LEADING = re.compile(
    r"[\s:*_$]*(?:(?:option|choice|letter|either|both|probably|most likely)\s+)*\**"
    rf"(?P<letters>{_ONE}(?:\**\s*(?:,|;|/|&|\bor\b|\band\b|或|和)\s*\**{_ONE})*)(?P<after>.*)",
    re.IGNORECASE | re.DOTALL,
)
_ARTICLE = re.compile(r"\s+(?!because|since|as|and|or|for|with|by|given|due|which|is|from)[a-z]")
_SENTENCE_END = re.compile(r"\.(?:\s|$)")
_STANDALONE = re.compile(
    r"[(\[*]{1,2}([A-Z])[)\]*]|(?<![\w'\\])([A-Z])(?=[ \t]*(?:[.,;:!?)*$]|$))", re.MULTILINE
)
_BETWEEN = re.compile(r"[\s,;/&、()\[\]{}.:*]+|\b(?:and|or)\b|或|和")
_FILLER = re.compile(r"options?|choices?|answer|letter|either|both|选项", re.IGNORECASE)
_WITH_TEXT = re.compile(r"[(\[]?([A-Z])\s?(?:[)\]][.:]?|[.:])\s*(?P<text>\S.*)", re.DOTALL)
_OTHER = re.compile(r"(?<![A-Za-z0-9(\[])(?:[(\[](?=.[)\]]))?([A-Z])[)\]]")
_BOXED_LETTER = re.compile(
    r"\\(?:boxed|fbox)\s{0,3}\{\s{0,3}(?:\\\w{1,8}\s?\{)?\(?([A-Za-z])\)?\s{0,3}[.}]"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Whether the response names the option that is right.

    An answer names an option by its letter, by letter and text, or by its text or value alone
    where the options are known: from a column of the problem, else from the prompt. Naming several
    is wrong, unless the reference names the same; so is boxing one option after the other until
    none is left. Nothing is ever guessed.
    """

    forms: Sequence[str] = ("box", "answer_tag", "phrase")
    """How an answer is marked; the first that a response uses counts. ``box``, ``answer_tag``,
    ``hashes``, ``phrase`` ("the answer is (B)"), and ``letter``: the last capital that stands
    alone, which may be a name as well."""
    column: str = "options"
    """Column with the options: a list of texts, or texts by letter."""
    letters: str = "ABCDEFGHIJ"
    """Letters that name an option where the options are not known."""

    def __post_init__(self) -> None:
        if isinstance(self.forms, str) or not self.forms or not set(self.forms) <= set(FORMS):
            raise ValueError(
                f"forms={self.forms!r}: give a list with at least one of {', '.join(FORMS)}"
            )
        if len(self.letters) < 2 or not (self.letters.isascii() and self.letters.isupper()):
            raise ValueError(f"letters={self.letters!r}: two capitals or more, such as ABCD")

    @property
    def maximum(self) -> float:
        """The reward of a right answer."""
        return 1.0

    def example(self, problem: Problem) -> str:
        """A text that gives the reference in the first form that is looked for."""
        answer = problem.answer
        first = self.forms[0]
        if first not in ("phrase", "letter"):
            return extract.mark(answer, Form(first))
        return f"The answer is ({answer})" if len(answer) == 1 else f"The answer is {answer}"

    def __call__(self, problem: Problem, text: str) -> Verdict:
        options = options_of(problem, self.column)
        wanted = self._read(problem.answer, options)
        if not wanted:
            # What looks like options in the prompt may be none: the reference tells.
            options = dict[str, str]()
            wanted = self._read(problem.answer, options)
        if not wanted:
            return gold_unparsed(VERIFIER, problem.answer)
        said = extract.after_thinking(text)
        if said is None:
            return no_answer(VERIFIER, "the thinking never ended")
        found = next((found for form in self.forms if (found := _candidates(said, form))), ())
        if not found:
            return no_answer(VERIFIER, f"no option named as {', '.join(self.forms)}")
        named = _Letters().union(*(self._read(answer, options) for answer in set(found)))
        detail = "" if named else "names no option"
        if len(named) > 1 and named != wanted:
            detail = f"names {len(named)} options"
        elif _boxes_all(said, options, wanted):
            named, detail = _Letters(), "boxes one option after the other"
        correct = named == wanted
        return judged(VERIFIER, correct, reward=float(correct), extracted=found[-1], detail=detail)

    def _read(self, answer: str, options: _Options) -> _Letters:
        """The letters of the options that an answer names; empty where it names none."""
        if len(answer) > MAX_ANSWER:
            return _Letters()
        text = plain(answer)
        allowed = options.keys() if options else set(self.letters)
        for way in (_same_text, _listed, _with_text, _sentence, _same_value):
            letters = way(text, options)
            if letters and letters <= allowed:
                return letters
        return _Letters()


def _candidates(said: str, form: str) -> tuple[str, ...]:
    if form not in ("phrase", "letter"):
        return extract.answers(said, Form(form))
    said = plain_lines(said)
    matches = list((_STANDALONE if form == "letter" else _PHRASE).finditer(said))
    line = said.rfind("\n", 0, matches[-1].start()) if matches else 0
    closing = [match for match in matches[-MAX_NAMED:] if match.start() > line]
    if form == "letter":
        return tuple(match[1] or match[2] for match in closing)
    return tuple(answer for match in closing if (answer := _phrased(match["said"])))


def _phrased(said: str) -> str:
    """The letters that a sentence begins with, or all of it, as the text of an option."""
    leading = _LEADING.match(said)
    if leading and not (leading["letters"] in "AI" and _ARTICLE.match(leading["after"])):
        return leading["letters"]
    return _SENTENCE_END.split(said, maxsplit=1)[0].strip(" \t:*")


def _same_text(text: str, options: _Options) -> _Letters:
    """The option of that text. A capital alone is a letter even where one of them is a capital."""
    if len(text) == 1 and text.isupper():
        return _Letters()
    wanted = spelled(text)
    return _only(letter for letter, option in options.items() if spelled(option) == wanted)


def _listed(text: str, _: _Options) -> _Letters:
    """Letters alone: ``B``, ``(b)``, ``option B``, ``A, C``, ``A or C``, ``ACD``."""
    pieces = [piece for piece in _BETWEEN.split(text) if piece]
    pieces = [piece for piece in pieces if not _FILLER.fullmatch(piece)]
    if len(pieces) == 1:
        word = pieces[0].upper() if len(pieces[0]) == 1 else pieces[0]
        return _Letters(word if _is_run(word) else "")
    return _Letters(pieces if all(len(piece) == 1 and _is_run(piece) for piece in pieces) else "")


def _is_run(word: str) -> bool:
    capitals = word.isascii() and word.isalpha() and word.isupper()
    return capitals and list(word) == sorted(set(word))


def _with_text(text: str, options: _Options) -> _Letters:
    """A letter and its text: ``B) 12``. Another option's letter or text is named as well."""
    match = _WITH_TEXT.fullmatch(text)
    if match is None:
        return _Letters()
    same = _same_text(match["text"], options)
    if match[1] in same:
        return _Letters(match[1])
    return same | {match[1]} | {other[1] for other in _OTHER.finditer(match["text"])}


def _same_value(text: str, options: _Options) -> _Letters:
    """The option that means the same as mathematics."""
    short = {letter: option for letter, option in options.items() if len(option) <= MAX_ANSWER}
    return _only(letter for letter, option in short.items() if math.equivalent(option, text))


def _sentence(text: str, options: _Options) -> _Letters:
    """What a sentence such as ``The answer is (B)`` names."""
    said = (_phrased(match["said"]) for match in _PHRASE.finditer(text))
    return _Letters().union(*(_same_text(it, options) or _listed(it, options) for it in said))


def _only(letters: Iterable[str]) -> _Letters:
    """The letter, if it is one: options that are alike are not told apart by what they say."""
    found = _Letters(letters)
    return found if len(found) == 1 else _Letters()


def _boxes_all(said: str, options: _Options, wanted: _Letters) -> bool:
    boxed = _Letters(str(match[1]).upper() for match in _BOXED_LETTER.finditer(said))
    enough = max(len(options), 3) if options else 4
    return len(boxed) >= enough and boxed != wanted
