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

from rlvr.rewards.answers.brackets import Brackets
from rlvr.rewards.answers.cursor import MAX_DEPTH, NOTHING
from rlvr.rewards.answers.tokens import Token, Unreadable
from rlvr.rewards.answers.tree import (
    Call,
    Chain,
    Group,
    Measured,
    Name,
    Node,
    Num,
    depth,
)
from rlvr.rewards.answers.vocabulary import CHATTER

RELATIONS = frozenset(
    {"=", "<", ">", r"\le", r"\ge", r"\ne", r"\approx", r"\in", r"\equiv", r"\to", r"\subset"}
)
_SETS = {r"\cup": "union", r"\cap": "intersection", r"\setminus": "without"}
_SUMS = {"+": "+", "-": "-", r"\pm": "pm", r"\mp": "mp", r"\lor": "lor", r"\land": "land"}


_ATOMS = frozenset({r"\sum", r"\prod", r"\frac", r"\binom", r"\lfloor", r"\lceil", r"\{"})


_LONG_SUM = 16


def parse(tokens: list[Token]) -> Node:
    """The tree of a whole answer, of at most ``MAX_DEPTH`` levels.

    Raises:
        Unreadable: says at what it fails.
    """
    tree = _Parser(tokens).whole()
    if depth(tree) > MAX_DEPTH:
        raise Unreadable(f"operations nested more than {MAX_DEPTH} deep")
    return tree


def _added(first: Node, terms: list[tuple[str, Node]]) -> Node:
    """A sum from left to right; a long one halved again and again, so that it is not deep."""
    if len(terms) <= _LONG_SUM or any(op not in "+-" for op, _ in terms):
        for op, term in terms:
            first = Call(op, (first, term))
        return first
    nodes = [first, *(term if op == "+" else Call("neg", (term,)) for op, term in terms)]
    while len(nodes) > 1:
        pairs = zip(nodes[::2], nodes[1::2], strict=False)
        nodes = [Call("+", pair) for pair in pairs] + nodes[len(nodes) - len(nodes) % 2 :]
    return nodes[0]


class _Parser(Brackets):
    def whole(self) -> Node:
        self._skip_lead()
        node = self._list("")
        while self._next.kind == "word" and self._next.text in CHATTER:
            self._at += 1
        if self._next is not NOTHING:
            raise Unreadable(f"{self._next.text!r} fits nowhere")
        return node

    def _skip_lead(self) -> None:
        """Skips words before the mathematics, up to ``is`` or a colon."""
        if self._next.kind != "word":
            return
        plain = True
        while self._next.kind == "word":
            word = self._take().text
            plain = word in CHATTER or not word.isascii()
        for ahead in range(6):
            token = self._ahead(ahead)
            if token.kind == "num" or token is NOTHING:
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
            if self._next is NOTHING:
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
        terms: list[tuple[str, Node]] = []
        while self._next.kind in ("sign", "command") and self._next.text in _SUMS:
            op = _SUMS[self._take().text]
            other = self._term()
            if isinstance(other, Measured):
                other, unit = other.value, other.unit
            terms.append((op, other))
        node = _added(node, terms)
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
                if self._is_index_of(node):
                    raise Unreadable("a number right behind a name")
                node = Call("*", (node, self._factor()))
            else:
                break
        if self._accept(r"\pmod"):
            node = Call("mod", (node, self._argument()))
        return self._with_unit(node)

    def _is_index_of(self, node: Node) -> bool:
        """``x2``, which is neither a product nor written like an index."""
        behind = self._next.kind == "num" and not self._next.spaced
        return behind and isinstance(node, Name) and node.text != "i"

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
