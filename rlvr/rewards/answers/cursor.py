"""A place in a list of tokens, and what the rules of the grammar expect of one another."""

from __future__ import annotations

from rlvr.rewards.answers.tokens import Token, Unreadable
from rlvr.rewards.answers.tree import Node

MAX_DEPTH = 100
NOTHING = Token("end", "", False)


class Cursor:
    """Tokens, and how far they have been read."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0
        self._bars: int = 0

    @property
    def _next(self) -> Token:
        return self._tokens[self._at] if self._at < len(self._tokens) else NOTHING

    def _ahead(self, count: int) -> Token:
        at = self._at + count
        return self._tokens[at] if at < len(self._tokens) else NOTHING

    def _take(self) -> Token:
        token = self._next
        if token is NOTHING:
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

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Unreadable(f"nested more than {MAX_DEPTH} deep")

    def _list(self, closers: str) -> Node:
        raise NotImplementedError

    def _relation(self) -> Node:
        raise NotImplementedError

    def _sum(self) -> Node:
        raise NotImplementedError

    def _term(self) -> Node:
        raise NotImplementedError

    def _factor(self) -> Node:
        raise NotImplementedError

    def _function(self) -> Node:
        raise NotImplementedError

    def _bracketed(self, token: Token) -> Node:
        raise NotImplementedError

    def _postfix(self, node: Node) -> Node:
        raise NotImplementedError

    def _argument(self, *, whole_numbers: bool = False) -> Node:
        raise NotImplementedError
