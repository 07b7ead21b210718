"""Full parameters out of an engine that may hold only a part of each, and their ways out."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedModel

BUCKET_BYTES = 256 * 2**20
"""Of parameters that ZeRO-3 gathers at a time."""


def full_parameters(
    language_model: nn.Module, *, partitioned: bool
) -> Iterator[tuple[str, Tensor]]:
    """``(name, tensor)`` of each parameter, named as in a Hugging Face checkpoint.

    Every rank must draw all of it, for under ZeRO-3 gathering is collective. A tensor is valid
    until the next one is drawn. Tied weights come once, under the name that a checkpoint uses.
    """
    for bucket in _buckets(language_model):
        if not partitioned:
            yield from ((name, parameter.detach()) for name, parameter in bucket)
            continue
        zero = importlib.import_module("deepspeed").zero
        gathered = [parameter for _, parameter in bucket]
        with zero.GatheredParameters(gathered, modifier_rank=None):
            yield from ((name, parameter.detach()) for name, parameter in bucket)


def export(
    language_model: PreTrainedModel,
    directory: Path,
    *,
    tokenizer: str,
    partitioned: bool,
    writes: bool,
) -> None:
    """Write what ``from_pretrained`` loads, with the tokenizer; all ranks call, one ``writes``."""
    kept: dict[str, Tensor] = {}
    for name, tensor in full_parameters(language_model, partitioned=partitioned):
        if writes:
            # Copied at once: the next bucket takes the gathered tensors away.
            kept[name] = tensor.to("cpu", copy=True)
    if not writes:
        return
    in_checkpoint = language_model.state_dict().keys()
    kept |= {n: b.cpu() for n, b in language_model.named_buffers() if n in in_checkpoint}
    save = cast(Callable[..., None], language_model.save_pretrained)
    save(directory, state_dict=kept)
    cast(Any, AutoTokenizer).from_pretrained(tokenizer).save_pretrained(directory)


def probe_tokens(vocabulary: int, *, length: int = 48) -> Tensor:
    """The token ids ``[length]`` of the log-prob probe: the same in every run and process."""
    generator = torch.Generator().manual_seed(20260)
    return torch.randint(vocabulary, (length,), generator=generator)


def _buckets(language_model: nn.Module) -> Iterator[list[tuple[str, nn.Parameter]]]:
    bucket: list[tuple[str, nn.Parameter]] = []
    nbytes = 0
    for name, parameter in language_model.named_parameters():
        # Under ZeRO-3 a parameter's own size is that of its part.
        numbers = cast(int, getattr(parameter, "ds_numel", parameter.numel()))
        if bucket and nbytes + numbers * parameter.element_size() > BUCKET_BYTES:
            yield bucket
            bucket, nbytes = [], 0
        bucket.append((name, parameter))
        nbytes += numbers * parameter.element_size()
    if bucket:
        yield bucket
