"""Single values and what is written behind them: numbers, names, powers, primes, subscripts."""

from __future__ import annotations

from fractions import Fraction

from rlvr.rewards.answers.cursor import Cursor
from rlvr.rewards.answers.tokens import Token, Unreadable
from rlvr.rewards.answers.tree import (
    Call,
    Group,
    Measured,
    Name,
    Node,
    Num,
)


class Atoms(Cursor):
    """Reads one value."""

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
