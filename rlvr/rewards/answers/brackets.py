"""Values in brackets: functions of arguments, roots, fractions, groups, intervals, matrices."""

from __future__ import annotations

from fractions import Fraction

from rlvr.rewards.answers.atoms import Atoms
from rlvr.rewards.answers.clean import ROW
from rlvr.rewards.answers.tokens import Token, Unreadable
from rlvr.rewards.answers.tree import (
    Call,
    Chain,
    Group,
    Matrix,
    Name,
    Node,
    Num,
)

CLOSERS = {"(": ")]", "[": ")]", r"\{": r"\}", "{": "}"}
_MATRICES = frozenset(
    {"matrix", "pmatrix", "bmatrix", "Bmatrix", "vmatrix", "Vmatrix", "smallmatrix", "array"}
)


class Brackets(Atoms):
    """Reads what holds other expressions."""

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
            node = self._list(CLOSERS[opened])
            self._expect(*CLOSERS[opened])
            return node.items if isinstance(node, Group) and node.is_bare else (node,)
        if self._next.kind == "func":
            return (self._function(),)
        node = self._factor()
        # sin 2x is sin(2x), but sin x cos x and sin x (1 + x) are products
        while self._next.kind in ("name", "num") and self._next.text != r"\infty":
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
        node = self._list(CLOSERS[opened])
        if opened == r"\{" and self._accept("|", ":"):
            node = Group("and", (node, self._list(r"\}")))
            self._expect(r"\}")
            self._bars = bars
            return node
        if opened == "{" and self._accept(r"\choose"):
            node = Call("binom", (node, self._sum()))
        if opened == "{" and self._accept(r"\over"):
            node = Call("/", (node, self._sum()))
        closed = self._expect(*(CLOSERS[opened] if opened in "([" else (CLOSERS[opened],))).text
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


def _unbalanced() -> Node:
    raise Unreadable("a half-open bracket around a single thing")
