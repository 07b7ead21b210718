"""Completions between token ids and text, as the engines decode them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from transformers import AutoTokenizer


class TokenText:
    """The text of tokens, one by one and together. Special tokens have none."""

    def __init__(self, tokenizer_path: str) -> None:
        """``tokenizer_path`` is a directory, as a rule the model's."""
        self._tokenizer: Any = AutoTokenizer.from_pretrained(tokenizer_path)
        self._pieces: dict[int, str] = {}

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Of each token by itself; a part of a letter reads as U+FFFD."""
        for id in set(ids) - self._pieces.keys():
            self._pieces[id] = self.text((id,))
        return [self._pieces[id] for id in ids]

    def text(self, ids: Sequence[int]) -> str:
        return cast(str, self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def ids(self, text: str) -> tuple[int, ...]:
        """Of a text that stands inside a completion: nothing is added to it."""
        encoded = self._tokenizer(text, add_special_tokens=False)
        return tuple(cast(list[int], encoded["input_ids"]))
