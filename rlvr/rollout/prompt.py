"""What a model is shown of a problem, as token ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from transformers import AutoTokenizer

from rlvr.types import Message, Problem

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)


class OverlongPrompt(ValueError):
    """A prompt with more tokens than ``sampling.max_prompt_tokens``."""


class PromptRenderer:
    """Plain text goes through the tokenizer as it is, messages through its chat template.

    A system prompt is a message, so it turns plain text into a chat as well.
    """

    def __init__(self, tokenizer_path: str, *, system_prompt: str, max_prompt_tokens: int) -> None:
        """``tokenizer_path`` is a directory, as a rule the model's."""
        directory = Path(tokenizer_path)
        if not any((directory / name).is_file() for name in TOKENIZER_FILES):
            raise FileNotFoundError(
                f"model={tokenizer_path} has no tokenizer (none of {', '.join(TOKENIZER_FILES)}): "
                "save the tokenizer beside the weights, or name the directory that has both"
            )
        self._tokenizer: Any = AutoTokenizer.from_pretrained(str(directory))
        self._path = tokenizer_path
        self._system_prompt = system_prompt
        self._max_prompt_tokens = max_prompt_tokens

    def __call__(self, problem: Problem) -> tuple[int, ...]:
        """Token ids of the prompt, ready for a completion.

        Raises:
            OverlongPrompt: it has more than ``max_prompt_tokens`` tokens.
            ValueError: it is empty, or a chat and the tokenizer has no chat template.
        """
        ids = self._encoded(problem)
        if not ids:
            raise ValueError(f"problem {problem.id}: the prompt has no tokens")
        if len(ids) > self._max_prompt_tokens:
            raise OverlongPrompt(
                f"problem {problem.id}: the prompt has {len(ids)} tokens and "
                f"sampling.max_prompt_tokens={self._max_prompt_tokens}"
            )
        return ids

    def _encoded(self, problem: Problem) -> tuple[int, ...]:
        prompt = problem.prompt
        if isinstance(prompt, str):
            if not self._system_prompt:
                return tuple(self._tokenizer(prompt)["input_ids"])
            prompt = (Message(role="user", content=prompt),)
        if self._system_prompt and not any(message.role == "system" for message in prompt):
            prompt = (Message(role="system", content=self._system_prompt), *prompt)
        if self._tokenizer.chat_template is None:
            raise ValueError(
                f"problem {problem.id} goes to the model as messages, and the tokenizer of "
                f"model={self._path} has no chat template: use plain-text prompts without a "
                "system_prompt, or a model with a template"
            )
        text = self._tokenizer.apply_chat_template(
            [{"role": message.role, "content": message.content} for message in prompt],
            add_generation_prompt=True,
            tokenize=False,
        )
        # The template has written the special tokens already; the tokenizer would repeat them.
        return tuple(cast(list[int], self._tokenizer(text, add_special_tokens=False)["input_ids"]))
