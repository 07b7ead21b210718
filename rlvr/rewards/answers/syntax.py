"""Reads a cleaned answer: LaTeX and plain-text mathematics, lists, relations, units.

Recursive descent over ``tokens``; nothing is evaluated, and neither the depth nor the work can be
driven up by what is read.

    answer    relation  {("," | ";" | and | or)  relation}
    relation  union     {("=" | "<" | in | ...)  union}
    union     sum       {(cup | cap | setminus)  sum}
    sum       term      {("+" | "-" | pm)        term}
    term      factor    {["*" | "/"]             factor}   [unit]
    factor    ("+" | "-") factor  |  postfix ["^" factor]
"""

from __future__ import annotations

from fractions import Fraction

from rlvr.rewards.answers.clean import ROW
from rlvr.rewards.answers.tokens import Token, Unreadable
from rlvr.rewards.answers.tree import (
    Call,
    Chain,
    Group,
    Matrix,
    Measured,
    Name,
    Node,
    Num,
)
from rlvr.rewards.answers.vocabulary import CHATTER

MAX_DEPTH = 100
RELATIONS = frozenset(
    {"=", "<", ">", r"\le", r"\ge", r"\ne", r"\approx", r"\in", r"\equiv", r"\to", r"\subset"}
)
_SETS = {r"\cup": "union", r"\cap": "intersection", r"\setminus": "without"}
_SUMS = {"+": "+", "-": "-", r"\pm": "pm", r"\mp": "mp", r"\lor": "lor", r"\land": "land"}
_CLOSERS = {"(": ")]", "[": ")]", r"\{": r"\}", "{": "}"}
_MATRICES = frozenset(
    ["matrix", "pmatrix", "bmatrix", "Bmatrix", "vmatrix", "Vmatrix", "smallmatrix", "array"]
)
_ENDS = frozenset([")", "]", "}", "\\}", ",", ";", "&", "\\rangle", "\\rfloor", "\\rceil"]) | {ROW}
_NOTHING = Token("end", "", False)


def parse(tokens: list[Token]) -> Node:
    """The tree of a whole answer.

    Raises:
        Unreadable: says at what it fails.
    """
    return _Parser(tokens).whole()


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0
        self._bars = 0

    def whole(self) -> Node:
        self._skip_lead()
        node = self._list("")
        while self._next.kind == "word" and self._next.text in CHATTER:
            self._at += 1
        if self._next is not _NOTHING:
            raise Unreadable(f"{self._next.text!r} fits nowhere")
        return node

    @property
    def _next(self) -> Token:
        return self._tokens[self._at] if self._at < len(self._tokens) else _NOTHING

    def _ahead(self, count: int) -> Token:
        at = self._at + count
        return self._tokens[at] if at < len(self._tokens) else _NOTHING

    def _take(self) -> Token:
        token = self._next
        if token is _NOTHING:
            raise Unreadable("it ends too early")
        self._at += 1
        return token

    def _accept(self, *texts: str) -> Token | None:
        token = self._next
        if token.kind in ("sign", "command") and token.text in texts:
            self._at += 1
            return token
        return None

    def _expect(self, *texts: str) -> Token:
        token = self._accept(*texts)
        if token is None:
            raise Unreadable(f"{' or '.join(texts)} is missing before {self._next.text!r}")
        return token

    def _skip_lead(self) -> None:
        """Skips words before the mathematics, up to ``is`` or a colon."""
        if self._next.kind != "word":
            return
        plain = True
        while self._next.kind == "word":
            plain = self._take().text in CHATTER
        for ahead in range(6):
            token = self._ahead(ahead)
            if token.kind == "num" or token is _NOTHING:
                break
            if token.kind == "word" and token.text in CHATTER:
                self._at += ahead + 1
                return self._skip_lead()
        if not self._accept(":", "=") and not plain:
            raise Unreadable("words before a value")
        return None

    def _list(self, closers: str) -> Node:
        """Items up to, not including, a closing bracket; one item stands for itself."""
        items = [self._relation()]
        between: set[str] = set()
        while True:
            separator = self._separator()
            if separator is None:
                break
            if self._next is _NOTHING or (self._next.text in ("...",) and not closers):
                if self._next is _NOTHING:
                    break
            between.add(separator)
            items.append(self._relation())
        if len(items) == 1:
            return items[0]
        words = between - {","}
        return Group(words.pop() if len(words) == 1 else ",", tuple(items))

    def _separator(self) -> str | None:
        found: str | None = None
        while self._next.kind == "sep" or (
            self._next.kind == "sign" and self._next.text in (",", ";")
        ):
            token = self._take()
            if token.kind == "sep" or found is None:
                found = token.text if token.kind == "sep" else ","
        return found

    def _relation(self) -> Node:
        self._deeper()
        items = [self._union()]
        relations: list[str] = []
        while (self._next.kind == "sign" and self._next.text in RELATIONS) or (
            self._next.kind == "command" and self._next.text in RELATIONS
        ):
            relations.append(self._take().text)
            while self._accept(*relations[-1:]):
                pass
            items.append(self._union())
        self._depth -= 1
        if not relations:
            return self._ratio(items[0])
        return Chain(tuple(items), tuple(relations))

    def _ratio(self, first: Node) -> Node:
        parts = [first]
        while isinstance(parts[-1], Measured) and self._next.kind == "num":
            parts.append(self._union())  # 5 feet 3 inches
        if len(parts) > 1:
            return Group("and", tuple(parts))
        while self._next.text == ":" and self._next.kind == "sign":
            self._at += 1
            parts.append(self._union())
        return Group("::", tuple(parts)) if len(parts) > 1 else first

    def _union(self) -> Node:
        node = self._sum()
        while self._next.kind == "command" and self._next.text in _SETS:
            op = _SETS[self._take().text]
            node = Call(op, (node, self._sum()))
        return node

    def _sum(self) -> Node:
        sign = self._accept("+", "-", r"\pm", r"\mp")
        while sign is None and self._accept(r"\approx"):
            pass
        node = self._term()
        unit = None
        if isinstance(node, Measured):
            node, unit = node.value, node.unit
        if sign is not None and sign.text != "+":
            node = Call("neg" if sign.text == "-" else _SUMS[sign.text], (node,))
        while self._next.kind in ("sign", "command") and self._next.text in _SUMS:
            op = _SUMS[self._take().text]
            other = self._term()
            if isinstance(other, Measured):
                other, unit = other.value, other.unit
            node = Call(op, (node, other))
        return node if unit is None else Measured(node, unit)

    def _term(self) -> Node:
        node = self._factor()
        while True:
            if self._accept("*"):
                node = Call("*", (node, self._factor()))
            elif self._next.text == "/" and self._next.kind == "sign":
                self._at += 1
                node = Call("/", (node, self._factor()))
            elif self._next.kind == "scale":
                node = Call("*", (node, Num(Fraction(self._take().text))))
            elif self._starts_factor():
                if self._next.kind == "num" and not isinstance(node, Call | Name | Group):
                    raise Unreadable("two numbers stand side by side")
                if self._next.kind == "num" and isinstance(node, Name) and not self._next.spaced:
                    raise Unreadable("a number right behind a name")
                node = Call("*", (node, self._factor()))
            else:
                break
        if self._accept(r"\pmod"):
            node = Call("mod", (node, self._argument()))
        return self._with_unit(node)

    def _with_unit(self, node: Node) -> Node:
        words: list[str] = []
        while self._next.kind == "word" or (
            words and self._next.text in ("/", ".", "^") and self._unit_goes_on()
        ):
            token = self._take()
            if token.text == "^":
                exponent = self._argument()
                if isinstance(exponent, Call) and exponent.op == "neg":
                    words.insert(-1, "per")
                    exponent = exponent.args[0]
                power = str(exponent.value) if isinstance(exponent, Num) else "?"
                words[-1] += "" if power == "1" else "^" + power
            elif token.text != ".":
                words.append("per" if token.text == "/" else token.text)
        words = [word for word in words if word not in CHATTER]
        if not words or (isinstance(node, Call) and node.op == "percent"):
            return node
        return Measured(node, " ".join(words))

    def _unit_goes_on(self) -> bool:
        if self._next.text == "^":
            return True
        return self._ahead(1).kind == "word"

    def _starts_factor(self) -> bool:
        token = self._next
        if token.kind in ("num", "name", "func"):
            return True
        if token.kind == "sign":
            return token.text in ("(", "{", "[") or (token.text == "|" and not self._bars)
        return token.kind == "command" and (
            token.text in _ATOMS or token.text.startswith(r"\begin")
        )

    def _factor(self) -> Node:
        self._deeper()
        if self._accept("-"):
            node: Node = Call("neg", (self._factor(),))
        elif self._accept("+"):
            node = self._factor()
        elif self._accept(r"\neg"):
            node = Call("not", (self._factor(),))
        elif self._next.kind == "func":
            node = self._function()
        else:
            node = self._postfix(self._atom())
        self._depth -= 1
        return node

    def _postfix(self, node: Node) -> Node:
        while True:
            if self._accept("!"):
                double = self._accept("!")
                node = Call("double_factorial" if double else "factorial", (node,))
            elif self._accept("%"):
                node = Call("percent", (node,))
            elif self._accept("'"):
                node = self._primed(node)
            elif self._next.text == "^" and self._next.kind == "sign":
                self._at += 1
                node = self._power(node)
            elif isinstance(node, Name) and self._is_applied(node):
                node = Name(f"{node.text}({self._ahead(1).text})")
                self._at += 3
            elif self._next.text == "_" and isinstance(node, Name | Num | Group):
                self._at += 1
                node = self._subscripted(node)
            else:
                return node

    def _is_applied(self, node: Name) -> bool:
        """``f(0)`` is a value of f; no one writes a product like that."""
        texts = [self._ahead(i) for i in range(3)]
        return (
            node.text[0].isalpha()
            and node.text not in ("e", "i")
            and (texts[0].text, texts[2].text) == ("(", ")")
            and texts[1].kind == "num"
            and not texts[0].spaced
        )

    def _primed(self, node: Node) -> Node:
        if isinstance(node, Name):
            return Name(node.text + "'")
        if isinstance(node, Num):
            return Measured(node, "minute")
        raise Unreadable("a prime behind no name")

    def _power(self, node: Node) -> Node:
        if self._accept(r"\circ"):
            return self._degrees(node)
        braced = self._next.text == "{"
        if braced and self._ahead(1).text == r"\circ" and self._ahead(2).text == "}":
            self._at += 3
            return self._degrees(node)
        if self._next.kind == "word" or (braced and self._ahead(1).kind == "word"):
            self._argument_words()
            return node  # 5^{th}
        if braced and self._ahead(1).text == "'":
            self._at += 1
            while self._accept("'"):
                node = self._primed(node)
            self._expect("}")
            return node
        if self._accept("'"):
            return self._primed(node)
        if self._next.kind == "sign" and self._next.text in ("+", "-") and not braced:
            sign = self._take().text
            exponent = self._postfix(self._atom())
            return Call("^", (node, Call("neg", (exponent,)) if sign == "-" else exponent))
        if braced:
            exponent = self._argument()
        elif self._next.kind == "func":
            exponent = self._function()
        else:
            exponent = self._atom()
            if self._next.text == "^" and self._next.kind == "sign":
                self._at += 1
                self._deeper()
                exponent = self._power(exponent)
                self._depth -= 1
            elif self._next.text == "!" and isinstance(exponent, Num | Name):
                exponent = self._postfix(exponent)
        return Call("^", (node, exponent))

    def _degrees(self, node: Node) -> Node:
        if self._next.kind == "name" and self._next.text in ("C", "F", "K"):
            return Measured(node, "degree " + self._take().text)
        return Call("degree", (node,))

    def _argument_words(self) -> None:
        closed = self._accept("{") is not None
        while self._next.kind == "word":
            self._at += 1
        if closed:
            self._expect("}")

    def _subscripted(self, node: Node) -> Node:
        if not isinstance(node, Name):
            base = self._argument()
            return Call("base", (node, base))
        if self._accept("{"):
            inside: list[str] = []
            while not self._accept("}"):
                inside.append(self._take().text)
            return Name(f"{node.text}_{''.join(inside)}")
        return Name(f"{node.text}_{self._take().text}")

    def _function(self) -> Node:
        name = self._take().text
        if name in ("dot", "ddot"):
            return self._postfix(self._derivative("'" if name == "dot" else "''"))
        power: Node | None = None
        if name == "sqrt" or name == "cbrt":
            return self._postfix(self._root(name))
        base: Node | None = None
        for _ in range(2):
            if self._accept("_"):
                base = self._argument()
            elif self._next.text == "^" and self._next.kind == "sign" and power is None:
                self._at += 1
                power = self._argument()
        arguments = self._function_arguments()
        if power == Num(Fraction(-1)) or power == Call("neg", (Num(Fraction(1)),)):
            name, power = "a" + name, None
        node: Node = Call(name, arguments if base is None else (*arguments, base))
        if power is not None:
            return Call("^", (node, power))
        return self._postfix(node)

    def _derivative(self, primes: str) -> Node:
        of = self._argument()
        if not isinstance(of, Name):
            raise Unreadable("a dot over no name")
        return Name(of.text + primes)

    def _function_arguments(self) -> tuple[Node, ...]:
        if self._next.text in ("(", "{", "[") and self._next.kind == "sign":
            opened = self._take().text
            node = self._list(_CLOSERS[opened])
            self._expect(*_CLOSERS[opened])
            return node.items if isinstance(node, Group) and node.is_bare else (node,)
        if self._next.kind == "func":
            return (self._function(),)
        node = self._factor()
        # sin 2x is sin(2x), but sin x cos x and sin x (1 + x) are products
        while self._next.kind in ("name", "num") and not self._next.text == r"\infty":
            if self._next.kind == "num":
                break
            node = Call("*", (node, self._factor()))
        return (node,)

    def _root(self, name: str) -> Node:
        if name == "cbrt":
            return Call("root", (self._argument(), Num(Fraction(3))))
        degree: Node | None = None
        if self._next.text == "[":
            self._at += 1
            degree = self._sum()
            self._expect("]")
        inside = self._argument(whole_numbers=True)
        return Call("sqrt", (inside,)) if degree is None else Call("root", (inside, degree))

    def _argument(self, *, whole_numbers: bool = False) -> Node:
        """What stands in braces, or the single character that does without them."""
        self._deeper()
        if self._accept("{"):
            node = self._list("}")
            self._expect("}")
        elif self._next.kind == "num" and not whole_numbers:
            node = self._digit()
        elif self._next.kind == "func":
            node = self._function()
        elif self._accept("-"):
            node = Call("neg", (self._atom(),))
        else:
            node = self._atom()
        self._depth -= 1
        return node

    def _digit(self) -> Node:
        token = self._take()
        if not token.text.isdigit() or len(token.text) == 1:
            assert token.num is not None
            return token.num
        rest = token.text[1:]
        self._at -= 1
        self._tokens = [
            *self._tokens[: self._at],
            Token("num", rest, False, Num(Fraction(int(rest)))),
            *self._tokens[self._at + 1 :],
        ]
        return Num(Fraction(int(token.text[0])))

    def _atom(self) -> Node:
        token = self._take()
        match token.kind:
            case "num":
                assert token.num is not None
                return self._mixed(token.num)
            case "name":
                return Name(token.text)
            case "scale":
                return Num(Fraction(token.text))
            case "sign" | "command":
                return self._bracketed(token)
            case _:
                raise Unreadable(f"{token.text!r} where a value is expected")

    def _mixed(self, whole: Num) -> Node:
        r"""``2 1/2`` and ``2\frac{1}{2}`` are two and a half."""
        if whole.places is not None or whole.value.denominator != 1:
            return whole
        first, slash, last = (self._ahead(i) for i in range(3))
        if first.num and last.num and slash.text == "/" and first.spaced:
            above, below, used = first.num, last.num, 3
        elif first.text == r"\frac":
            texts = [self._ahead(i).text for i in range(1, 7)]
            above, below = self._ahead(2).num, self._ahead(5).num
            if texts[0::2] != ["{", "}", texts[4]] or texts[3] != "{" or texts[5] != "}":
                above, below = self._short_fraction()
                used = 2 if self._ahead(1).text.isdigit() and len(self._ahead(1).text) == 2 else 3
            else:
                used = 7
        else:
            return whole
        if above is None or below is None or above.places or below.places:
            return whole
        if not 0 < above.value < below.value:
            return whole
        self._at += used
        return Num(whole.value + above.value / below.value)

    def _short_fraction(self) -> tuple[Num | None, Num | None]:
        text = self._ahead(1).text
        if text.isdigit() and len(text) == 2:
            return Num(Fraction(int(text[0]))), Num(Fraction(int(text[1])))
        return None, None

    def _bracketed(self, token: Token) -> Node:
        match token.text:
            case "(" | "[" | r"\{" | "{":
                return self._group(token.text)
            case "]":
                return self._open_interval()
            case "|":
                return self._absolute()
            case "...":
                return Name("...")
            case r"\frac":
                above = self._argument()
                return Call("/", (above, self._argument()))
            case r"\sum" | r"\prod":
                return self._summation(token.text[1:])
            case r"\binom":
                above = self._argument()
                return Call("binom", (above, self._argument()))
            case r"\lfloor" | r"\lceil":
                node = self._sum()
                self._expect(token.text.replace(r"\l", r"\r"))
                return Call("floor" if "floor" in token.text else "ceil", (node,))
            case r"\langle":
                node = self._list(r"\rangle")
                self._expect(r"\rangle")
                return Group("<>", node.items if isinstance(node, Group) else (node,))
            case _ if token.text.startswith(r"\begin"):
                return self._matrix(token.text[7:-1].rstrip("*"))
            case _:
                raise Unreadable(f"{token.text!r} where a value is expected")

    def _summation(self, op: str) -> Node:
        limits: dict[str, Node] = {}
        for _ in range(2):
            sign = self._accept("_", "^")
            if sign is None or sign.text in limits:
                raise Unreadable("a sum without limits")
            limits[sign.text] = self._limit() if sign.text == "_" else self._argument()
        index = limits["_"]
        if not isinstance(index, Chain) or index.relations != ("=",):
            raise Unreadable("a sum without a first value")
        return Call(op, (self._term(), *index.items, limits["^"]))

    def _limit(self) -> Node:
        self._expect("{")
        node = self._relation()
        self._expect("}")
        return node

    def _group(self, opened: str) -> Node:
        bars, self._bars = self._bars, 0
        if opened == r"\{" and self._ahead(1).text in ("|", ":") and self._next.kind == "name":
            self._at += 2
            node = self._list(r"\}")
            self._expect(r"\}")
            self._bars = bars
            return node
        node = self._list(_CLOSERS[opened])
        if opened == r"\{" and self._accept("|", ":"):
            node = Group("and", (node, self._list(r"\}")))
            self._expect(r"\}")
            self._bars = bars
            return node
        if opened == "{" and self._accept(r"\choose"):
            node = Call("binom", (node, self._sum()))
        if opened == "{" and self._accept(r"\over"):
            node = Call("/", (node, self._sum()))
        closed = self._expect(*(_CLOSERS[opened] if opened in "([" else (_CLOSERS[opened],))).text
        self._bars = bars
        if opened == "{":
            return node
        items = node.items if isinstance(node, Group) and node.is_bare else (node,)
        if opened == r"\{":
            return Group("{}", items)
        if len(items) == 1 and isinstance(node, Matrix):
            return node
        if len(items) == 1:
            return items[0] if opened + closed in ("()", "[]") else _unbalanced()
        return Group(opened + closed, items)

    def _open_interval(self) -> Node:
        """``]a, b[`` as it is written in French."""
        node = self._list("[")
        closed = self._expect("[", "]")
        if not isinstance(node, Group) or len(node.items) != 2:
            raise Unreadable("a lone closing bracket")
        return Group("(" + (")" if closed.text == "[" else "]"), node.items)

    def _absolute(self) -> Node:
        self._bars += 1
        node = self._sum()
        self._expect("|")
        self._bars -= 1
        return Call("abs", (node,))

    def _matrix(self, environment: str) -> Node:
        if environment not in _MATRICES:
            raise Unreadable(f"the environment {environment}")
        if environment == "array" and self._accept("{"):
            while not self._accept("}"):
                self._take()
        rows: list[list[Node]] = [[]]
        end = rf"\end{{{environment}}}"
        while not self._accept(end, end.replace("}", "*}")):
            if self._accept(ROW):
                rows.append([])
            elif not self._accept("&"):
                rows[-1].append(self._relation())
                self._accept(",")
        full = tuple(tuple(row) for row in rows if row)
        if not full or len({len(row) for row in full}) != 1:
            raise Unreadable("a matrix with rows of different lengths")
        if environment == "vmatrix":
            return Call("det", (Matrix(full),))
        return Matrix(full)

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Unreadable(f"nested more than {MAX_DEPTH} deep")


def _unbalanced() -> Node:
    raise Unreadable("a half-open bracket around a single thing")


_ATOMS = frozenset({r"\sum", r"\prod", r"\frac", r"\binom", r"\lfloor", r"\lceil", r"\{"})
