r"""Base models that fit a laptop, made from nothing in under a minute.

    python -m rlvr.tiny                         # models/tiny: knows some arithmetic
    python -m rlvr.tiny --random --out DIR      # untrained, reads any text: for wiring tests

The arithmetic model is warmed up on solutions of the warm-up split, which reinforcement learning
and evaluation never see. Most of its corpus is patient (a line for each operation); the end is
mostly hurried (the answer at once), the more so the longer the problem. Every solution is right.
What comes of it has the skill and the wrong habit. Made to write a first step, it finishes nearly
every problem when decoded greedily, and slips on up to one in seven when sampled. Left alone it
hurries, and a model of its size can't do several operations at a glance: it solves about a third.
What reinforcement learning has to find, from verdicts alone, is that writing the steps pays, on
long problems too, and then to write them without a slip. It need not teach the facts.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch
from rich.console import Console
from rich.progress import Progress
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from torch.nn import functional
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2Tokenizer,
    Qwen3Config,
)
from transformers.utils import logging

from rlvr.problems.arithmetic import LARGEST, LEVELS, Chain, chains

PAD, END, UNKNOWN = "<pad>", "<eos>", "<unk>"
TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"
BOX = r"\boxed{"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    f"{TURN_START}{{{{ message['role'] }}}}\n{{{{ message['content'] }}}}{TURN_END}\n"
    "{% endfor %}"
    f"{{% if add_generation_prompt %}}{TURN_START}assistant\n{{% endif %}}"
)
MAX_POSITIONS = 4096
Architecture = Literal["qwen2", "qwen3"]
CONFIGS: dict[Architecture, Callable[..., PreTrainedConfig]] = {
    "qwen2": Qwen2Config,
    "qwen3": Qwen3Config,
}
IGNORED = -100
"""Label of a token that the warm-up's loss leaves out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmUp:
    """How the arithmetic model is trained before reinforcement learning starts."""

    levels: tuple[int, ...] = LEVELS
    problems_per_level: int = 7500
    """At most; the low levels have fewer."""
    steps: int = 2000
    examples_per_step: int = 16
    lr: float = 2e-3
    """Highest learning rate (AdamW); it rises over 30 steps and then falls linearly."""
    patient_share: float = 0.8
    """Share of the steps, from the start, whose solutions are all worked out."""
    worked_at_end: float = 1.1
    """Divided by the level, the chance that one of the later solutions is worked out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A prompt and its solution; only the solution is learned."""

    prompt_ids: tuple[int, ...]
    solution_ids: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.solution_ids)


def arithmetic_tokenizer() -> PreTrainedTokenizerFast:
    r"""A token for each number from 0 to 30, each sign, and ``\boxed{``; decoding is exact."""
    numbers = [str(n) for n in range(LARGEST + 1)]
    tokens = [PAD, END, UNKNOWN, "\n", *"+-*=}", BOX, *numbers]
    longest_first = "|".join(reversed([n for n in numbers if len(n) > 1]))
    tokenizer = Tokenizer(models.WordLevel({t: i for i, t in enumerate(tokens)}, UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(
        Regex(rf"\\boxed\{{|{longest_first}|[\s\S]"), behavior="isolated"
    )
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        unk_token=UNKNOWN,
        model_max_length=MAX_POSITIONS,
        clean_up_tokenization_spaces=False,
    )


def byte_tokenizer(texts: Sequence[str] = (), *, vocab_size: int = 1024) -> Qwen2Tokenizer:
    """Qwen2's tokenizer with a small vocabulary and a chat template; it can encode any text.

    Without texts there are no merges, so a token is a byte; with them the vocabulary grows to
    at most ``vocab_size``. As with Qwen2 itself, decoding gives the text back in Unicode NFC.
    """
    empty = Qwen2Tokenizer(
        eos_token=TURN_END, model_max_length=MAX_POSITIONS, clean_up_tokenization_spaces=False
    )
    tokenizer = cast(
        Qwen2Tokenizer,
        empty.train_new_from_iterator(
            texts, vocab_size, new_special_tokens=[TURN_START], show_progress=False
        ),
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def random_model(
    tokenizer: PreTrainedTokenizerFast, *, like: Architecture, seed: int = 0
) -> PreTrainedModel:
    """An untrained model of about 0.3 M parameters, float32, embeddings tied.

    Heads are 32 wide, the least that vLLM's CPU attention takes. RoPE's base is 100, since what
    the arithmetic model has to tell apart lies within some 110 positions.
    """
    config = CONFIGS[like](
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=MAX_POSITIONS,
        rope_parameters={"rope_type": "default", "rope_theta": 100.0},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype=torch.float32,
    )
    torch.manual_seed(seed)
    return cast(Any, AutoModelForCausalLM).from_config(config)


def warm_up(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    settings: WarmUp,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[float]:
    """Train the model in place on right solutions; the loss of each step (nats per token).

    The same seed and number of threads give the same model.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.lr, betas=(0.9, 0.95), weight_decay=0.1
    )
    bar = progress.add_task("warming up", total=settings.steps) if progress else None
    losses: list[float] = []
    model.train()
    for step, batch in enumerate(training_batches(tokenizer, settings, seed)):
        rise, left = min(1.0, (step + 1) / 30), max(0.02, 1 - step / settings.steps)
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * rise * left
        loss = _solution_loss(model, batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if progress and bar is not None:
            progress.advance(bar)
    model.eval()
    return losses


def training_batches(
    tokenizer: PreTrainedTokenizerFast, settings: WarmUp, seed: int
) -> Iterator[list[Example]]:
    """One batch per step, of examples of similar length."""
    draw = random.Random(f"warm-up/{seed}")
    pools = {
        level: list(islice(chains("warmup", level), settings.problems_per_level))
        for level in set(settings.levels)
    }
    size, patient_until = settings.examples_per_step, settings.patient_share * settings.steps
    batches: list[list[Example]] = []
    for step in range(settings.steps):
        if not batches:
            patient = step < patient_until
            solved = [draw.choice(pools[draw.choice(settings.levels)]) for _ in range(size * 16)]
            examples = sorted(
                (_example(tokenizer, chain, settings, draw, patient) for chain in solved), key=len
            )
            batches = [examples[i : i + size] for i in range(0, len(examples), size)]
            draw.shuffle(batches)
        yield batches.pop()


def _example(
    tokenizer: PreTrainedTokenizerFast,
    chain: Chain,
    settings: WarmUp,
    draw: random.Random,
    patient: bool,
) -> Example:
    works_it_out = patient or draw.random() < settings.worked_at_end / len(chain.steps)
    solution = chain.worked() if works_it_out else chain.hurried()
    return Example(
        prompt_ids=tuple(_ids(tokenizer, chain.prompt)),
        solution_ids=(*_ids(tokenizer, solution), _ids(tokenizer, END)[0]),
    )


def _ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False)


def _solution_loss(model: PreTrainedModel, batch: Sequence[Example]) -> Tensor:
    width = max(map(len, batch))
    ids_BT = torch.zeros(len(batch), width, dtype=torch.long)
    labels_BT = torch.full((len(batch), width), IGNORED)
    for row, example in enumerate(batch):
        start, end = len(example.prompt_ids), len(example)
        ids_BT[row, :end] = torch.tensor(example.prompt_ids + example.solution_ids)
        labels_BT[row, start:end] = torch.tensor(example.solution_ids)
    # Padding is on the right, so causal attention keeps it from every token that is learned.
    logits_BTV = cast(Tensor, model(input_ids=ids_BT).logits)
    return functional.cross_entropy(
        logits_BTV[:, :-1].flatten(0, 1), labels_BT[:, 1:].flatten(), ignore_index=IGNORED
    )


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write a directory that transformers and vLLM load by its path."""
    model.generation_config = GenerationConfig(
        eos_token_id=cast(int, tokenizer.eos_token_id),
        pad_token_id=cast(int, tokenizer.pad_token_id),
    )
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def read_texts(path: Path) -> list[str]:
    """Every string in a file with one JSON object a line."""
    rows: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()]
    return [value for row in rows for value in row.values() if isinstance(value, str)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m rlvr.tiny", description="Make a tiny model.")
    parser.add_argument("--out", type=Path, help="directory (models/tiny or models/tiny_random)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=WarmUp().steps, help="of the warm-up")
    parser.add_argument("--random", action="store_true", help="untrained, for any text")
    parser.add_argument("--like", choices=get_args(Architecture), default="qwen2")
    parser.add_argument("--vocab-from", type=Path, help="JSON lines to learn a vocabulary from")
    arguments = parser.parse_args()
    if arguments.vocab_from and not arguments.random:
        parser.error("--vocab-from needs --random: the arithmetic model's vocabulary is fixed")
    return arguments


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    logging.disable_progress_bar()
    console = Console()
    if arguments.random:
        out = arguments.out or Path("models/tiny_random")
        tokenizer = byte_tokenizer(read_texts(arguments.vocab_from) if arguments.vocab_from else ())
        model = random_model(tokenizer, like=arguments.like, seed=arguments.seed)
        what = "an untrained model"
    else:
        out = arguments.out or Path("models/tiny")
        tokenizer = arithmetic_tokenizer()
        # AutoTokenizer reads any tokenizer of a Qwen2 model as Qwen2's own, but not so a Qwen3's.
        model = random_model(tokenizer, like="qwen3", seed=arguments.seed)
        with Progress(console=console) as progress:
            settings = WarmUp(steps=arguments.steps)
            losses = warm_up(model, tokenizer, settings, seed=arguments.seed, progress=progress)
        what = f"an arithmetic model (loss {losses[0]:.2f} -> {sum(losses[-50:]) / 50:.2f})"
    save(model, tokenizer, out)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    console.print(f"{out}: {what}, {parameters:,} parameters, {len(tokenizer)} tokens")


if __name__ == "__main__":
    main()
