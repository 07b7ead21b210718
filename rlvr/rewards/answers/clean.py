r"""One spelling for characters and for LaTeX that only lays out.

Nothing here changes a value: ``\dfrac12`` and ``½`` become ``\frac{1}{2}``, 1/2 and 0.5 stay apart.
"""

from __future__ import annotations

import re
import unicodedata

from rlvr.rewards.answers.vocabulary import words

WORD = "\ue001"
r"""Stands before a word out of ``\text{...}``, which is no product of variables."""
ROW = "\ue000"
"""Stands for the two backslashes between rows."""

_CHARACTERS = {
    "\N{MINUS SIGN}": "-",
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "\N{HYPHEN}": "-",
    "\N{NON-BREAKING HYPHEN}": "-",
    "\N{FIGURE DASH}": "-",
    "\N{MULTIPLICATION SIGN}": r"\times ",
    "\N{MULTIPLICATION X}": r"\times ",
    "\N{MIDDLE DOT}": r"\cdot ",
    "\N{DOT OPERATOR}": r"\cdot ",
    "\N{BULLET OPERATOR}": r"\cdot ",
    "\N{ASTERISK OPERATOR}": "*",
    "\N{DIVISION SIGN}": "/",
    "\N{FRACTION SLASH}": "/",
    "\N{DIVISION SLASH}": "/",
    "\N{RATIO}": ":",
    "\N{INFINITY}": r"\infty ",
    "\N{LESS-THAN OR EQUAL TO}": r"\le ",
    "\N{GREATER-THAN OR EQUAL TO}": r"\ge ",
    "\N{LESS-THAN OR SLANTED EQUAL TO}": r"\le ",
    "\N{GREATER-THAN OR SLANTED EQUAL TO}": r"\ge ",
    "\N{NOT EQUAL TO}": r"\ne ",
    "\N{ALMOST EQUAL TO}": r"\approx ",
    "\N{IDENTICAL TO}": r"\equiv ",
    "\N{PLUS-MINUS SIGN}": r"\pm ",
    "\N{MINUS-OR-PLUS SIGN}": r"\mp ",
    "\N{UNION}": r"\cup ",
    "\N{INTERSECTION}": r"\cap ",
    "\N{SET MINUS}": r"\setminus ",
    "\N{ELEMENT OF}": r"\in ",
    "\N{EMPTY SET}": r"\emptyset ",
    "\N{LATIN CAPITAL LETTER O WITH STROKE}": r"\emptyset ",
    "\N{DOUBLE-STRUCK CAPITAL R}": r"\mathbb{R}",
    "\N{DOUBLE-STRUCK CAPITAL Z}": r"\mathbb{Z}",
    "\N{DOUBLE-STRUCK CAPITAL N}": r"\mathbb{N}",
    "\N{DOUBLE-STRUCK CAPITAL Q}": r"\mathbb{Q}",
    "\N{DOUBLE-STRUCK CAPITAL C}": r"\mathbb{C}",
    "\N{DEGREE SIGN}": r"^\circ ",
    "\N{MASCULINE ORDINAL INDICATOR}": r"^\circ ",
    "\N{RING OPERATOR}": r"^\circ ",
    "\N{PRIME}": "'",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{LEFT SINGLE QUOTATION MARK}": "'",
    "\N{LEFT DOUBLE QUOTATION MARK}": '"',
    "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
    "\N{IDEOGRAPHIC COMMA}": ",",
    "\N{ARABIC COMMA}": ",",
    "\N{ARABIC DECIMAL SEPARATOR}": ".",
    "\N{ARABIC THOUSANDS SEPARATOR}": "",
    "\N{ARABIC PERCENT SIGN}": "%",
    "\N{IDEOGRAPHIC FULL STOP}": ".",
    "\N{LEFT BLACK LENTICULAR BRACKET}": "[",
    "\N{RIGHT BLACK LENTICULAR BRACKET}": "]",
    "\N{HORIZONTAL ELLIPSIS}": "...",
    "\N{MIDLINE HORIZONTAL ELLIPSIS}": "...",
    "\N{DIVIDES}": "|",
    "\N{LEFT FLOOR}": r"\lfloor ",
    "\N{RIGHT FLOOR}": r"\rfloor ",
    "\N{LEFT CEILING}": r"\lceil ",
    "\N{RIGHT CEILING}": r"\rceil ",
    "\N{MATHEMATICAL LEFT ANGLE BRACKET}": r"\langle ",
    "\N{MATHEMATICAL RIGHT ANGLE BRACKET}": r"\rangle ",
    "\N{FOR ALL}": r"\forall ",
    "\N{THERE EXISTS}": r"\exists ",
    "\N{ANGLE}": r"\angle ",
    "\N{WHITE UP-POINTING TRIANGLE}": r"\triangle ",
    "\N{LOGICAL AND}": r"\land ",
    "\N{LOGICAL OR}": r"\lor ",
    "\N{NOT SIGN}": r"\neg ",
    "\N{RIGHTWARDS ARROW}": r"\to ",
    "\N{LATIN SMALL LETTER DOTLESS I}": "i",
    "\N{COMBINING LONG SOLIDUS OVERLAY}": "",
    "\N{INVISIBLE TIMES}": "*",
}
_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lamda mu nu xi omicron pi rho "
    "sigma tau upsilon phi chi psi omega"
)
_SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱˣ", "0123456789+-()nix", strict=True))
_SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋ₙₓ", "0123456789+-nx", strict=True))
_RAISED = re.compile(f"[{''.join(_SUPERSCRIPTS)}]+")
_LOWERED = re.compile(f"[{''.join(_SUBSCRIPTS)}]+")
_ROOTS = {"√": r"\sqrt ", "∛": r"\sqrt[3] ", "∜": r"\sqrt[4] "}

_FONTS = "mathrm|mathbf|mathit|mathsf|mathnormal|operatorname\\*?|boldsymbol|bm|mathcal|pmb"
_LAYOUTS = "align|aligned|gather|gathered|split|equation|center|flushleft|displaymath|math"
_SIZES = "tiny|small|normalsize|large|Large|LARGE|huge|Huge|bfseries|itshape|rmfamily|boldmath"
_REWRITES = tuple(
    (re.compile(pattern), becomes)
    for pattern, becomes in (
        (r"\\\\(?:\[[^\]]{0,9}\])?", ROW),
        (rf"\\(?:begin|end)\s*\{{(?:{_LAYOUTS})\*?\}}", " "),
        (r"\\(?:text)?color\s*(?:\[\w+\])?\{[\w!.,]*\}", " "),
        (rf"\\(?:{_SIZES})(?![a-zA-Z])", " "),
        (r"(?<![\\\w}])\{\s*\}", " "),
        (r"\\(?:left|right|middle|[bB]igg?[lrm]?)(?![a-zA-Z])\s*\.?", ""),
        (r"\\(?:displaystyle|textstyle|scriptstyle|limits|nolimits|ensuremath)(?![a-zA-Z])", ""),
        (r"\b(?:np|numpy|math|sympy|torch)\.(?=[a-z])", ""),
        (r"\b([AaPp])\.\s*[Mm]\b\.?", r"\1m"),
        (r"\\(?:phantom|hspace\*?|vspace\*?|label|tag\*?)\s*(?:\{[^{}]*\}|-)", " "),
        (r"(?<=\d)(?:\\[,!;: ]|~|\{,\}|\\ |,\\!)\s*(?=\d{3}(?!\d))", ""),
        (r"\\(?:[,!;:> ]|q?quad(?![a-zA-Z])|n?obreakspace)|~|\\/", " "),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (
            r"\\frac\s*\{\s*d\s*([A-Za-z]|\\[a-z]+)\s*\}\s*\{\s*d\s*[tx]\s*\}",
            r"\\dot{\1}",
        ),
        (r"\\[dt]binom(?![a-zA-Z])", r"\\binom"),
        (r"\\(le|ge|ne)(?:q|qslant|slant)?(?![a-zA-Z])", r"\\\1 "),
        (r"\\not\s*=", r"\\ne "),
        (r"\\bigcup(?![a-zA-Z])", r"\\cup "),
        (r"\\bigcap(?![a-zA-Z])", r"\\cap "),
        (r"(?<=[)\]}])\s*U\s*(?=[(\[{])", r"\\cup "),
        (r"^<([^<>]*,[^<>]*)>$", r"\\langle \1\\rangle"),
        (r"(?<=[\d}]) (?:y|e|o|ve|v\u00e0|veya|oraz|och|og) (?=[-\d\\])", " and "),
        (r"(?<=\d) to (?=\d)", ":"),
        (r"\\(?:boxed|fbox)(?![a-zA-Z])", ""),
        (r"^(?:\s|=|:|\\(?:to|implies|Rightarrow|therefore)(?![a-zA-Z]))+", ""),
        (r"(?<=[\d)])\s*\^\s*(?:o(?![a-zA-Z])|\{\s*o\s*\})", r"^\\circ "),
        (r"\{\s*([:=<>])\s*\}", r"\1"),
        (r"\\lt(?![a-zA-Z])", "<"),
        (r"\\gt(?![a-zA-Z])", ">"),
        (r"\\(?:varnothing|O)(?![a-zA-Z])", r"\\emptyset "),
        (r"\\(?:dots|ldots|cdots|dotsc|dotsb)(?![a-zA-Z])", "..."),
        (r"\\(?:lbrace)(?![a-zA-Z])", r"\\{"),
        (r"\\(?:rbrace)(?![a-zA-Z])", r"\\}"),
        (r"\\(?:lbrack)(?![a-zA-Z])", "["),
        (r"\\(?:rbrack)(?![a-zA-Z])", "]"),
        (r"\\(?:[lr]?vert|mid)(?![a-zA-Z])", "|"),
        (r"\\(?:[lr]?Vert|\|)(?![a-zA-Z])", "|"),
        (r"\\(?:leftarrow|rightarrow|Rightarrow|implies|to)(?![a-zA-Z])", r"\\to "),
        (r"\\(?:degree|degrees)(?![a-zA-Z])", r"^\\circ "),
        (r"\\(?:textdegree)(?![a-zA-Z])", r"^\\circ "),
        (r"\\%|\\percent(?![a-zA-Z])", "%"),
        (r"\\(?:hline|noindent|centering|nonumber|notag|bf|rm|it)(?![a-zA-Z])", " "),
        (r"\\[()\[\]]", " "),
        (r"\\\{\s*\\\}", r"\\emptyset "),
        (r"\\(?:mathbb|Bbb)\s*\{?\s*([RZNQC])\s*\}?", r"\\mathbb{\1}"),
        (r"\\(?:mathds|R)(?![a-zA-Z])", r"\\mathbb{R}"),
        (rf"\\(?:{_FONTS})\s*\{{\s*([A-Za-z0-9]|\\[A-Za-z]+)\s*\}}", r" \1 "),
    )
)
_TEXT = re.compile(
    rf"\\(?:text(?:bf|it|rm|sf|tt|sc|normal|up)?|mbox|hbox|emph|underline|{_FONTS})"
    r"\s*\{([^{}]*)\}"
)
_LETTERS = re.compile(r"[^\W\d_]+")
_ZERO_WIDTH = re.compile(
    "[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe0e\ufe0f\ufeff]"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_SPACES = re.compile(r"\s+")
_MARKDOWN = re.compile(r"\*\*(?=\S)(.+?)(?<=\S)\*\*$|^`(.*)`$", re.DOTALL)
MAX_TEXT_ROUNDS = 4


def clean(answer: str) -> str:
    """The answer with one spelling of characters, spaces and LaTeX commands."""
    text = answer if answer.isascii() else _ascii(answer)
    text = _SPACES.sub(" ", _CONTROL.sub(" ", text)).strip()
    emphasised = _MARKDOWN.fullmatch(text)
    if emphasised:
        text = emphasised[1] or emphasised[2] or ""
    for pattern, becomes in _REWRITES:
        text = pattern.sub(becomes, text)
    text = _without_dollars(text)
    for _ in range(MAX_TEXT_ROUNDS):
        text, changed = _TEXT.subn(_words, text)
        if not changed:
            break
    text = _IN_WORDS.sub(lambda m: f"_{_BASES[m[1].lower()]}", text)
    text = _SPACES.sub(" ", text).strip()
    return text if text.endswith("...") else text.rstrip(".;,").strip()


_BASES = dict(
    zip(
        words("two three four five six seven eight nine ten eleven twelve"),
        range(2, 13),
        strict=True,
    )
) | {"sixteen": 16}
_IN_WORDS = re.compile(rf"_ ?\{{? ?{WORD}?({'|'.join(_BASES)})\b ?\}}?", re.IGNORECASE)


def _words(match: re.Match[str]) -> str:
    return " " + _LETTERS.sub(lambda word: WORD + word[0], match[1]) + " "


def _without_dollars(text: str) -> str:
    """Drops ``$`` around mathematics; one that stands before an amount stays, as a currency."""
    bare = text.replace(r"\$", "\ue002")
    if bare.count("$") % 2 == 0:
        bare = bare.replace("$", " ")
    return bare.replace("\ue002", "$")


def _ascii(answer: str) -> str:
    text = unicodedata.normalize("NFC", answer)
    text = _RAISED.sub(lambda m: "^{" + "".join(_SUPERSCRIPTS[c] for c in m[0]) + "}", text)
    text = _LOWERED.sub(lambda m: "_{" + "".join(_SUBSCRIPTS[c] for c in m[0]) + "}", text)
    text = _ZERO_WIDTH.sub("", text)
    return "".join(c if c.isascii() else _character(c) for c in text)


def _character(c: str) -> str:
    known = _CHARACTERS.get(c) or _ROOTS.get(c) or _GREEK_LETTERS.get(c)
    if known is not None:
        return known
    category = unicodedata.category(c)
    if category[0] == "M":
        return ""  # vowel signs and accents of their own, which no pattern of words knows
    if category == "Nd":
        return str(unicodedata.digit(c))
    plain = unicodedata.normalize("NFKC", c)
    if "\N{FRACTION SLASH}" in plain:
        above, _, below = plain.partition("\N{FRACTION SLASH}")
        return rf"\frac{{{above}}}{{{below}}}"
    if len(plain) == 1 and plain != c:
        return _character(plain) if not plain.isascii() else plain
    return " " if plain.isspace() else c


def _greek_letters() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in _GREEK.split():
        command = "lambda" if name == "lamda" else name
        found[unicodedata.lookup(f"GREEK SMALL LETTER {name.upper()}")] = rf"\{command} "
        found[unicodedata.lookup(f"GREEK CAPITAL LETTER {name.upper()}")] = (
            rf"\{command.capitalize()} "
        )
    return found


_GREEK_LETTERS = _greek_letters()
