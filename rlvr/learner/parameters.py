"""Full parameters out of an engine that may hold only a part of each, and their ways out."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedModel

from rlvr.learner.lora import Weight, adapter_parameters, plain_name, save_adapters, weights

BUCKET_BYTES = 256 * 2**20
"""Of parameters that ZeRO-3 gathers at a time."""


def full_parameters(
    language_model: nn.Module, *, partitioned: bool
) -> Iterator[tuple[str, Tensor]]:
    """``(name, tensor)`` of each parameter, named as in a Hugging Face checkpoint.

    Adapters are merged into the weights that they belong to. Every rank must draw all of it, for
    under ZeRO-3 gathering is collective. A tensor is valid until the next one is drawn. Tied
    weights come once, under the name that a checkpoint uses.
    """
    return _drawn(weights(language_model), partitioned)


def export(
    language_model: PreTrainedModel,
    directory: Path,
    *,
    tokenizer: str,
    partitioned: bool,
    writes: bool,
) -> None:
    """Write what ``from_pretrained`` loads, with the tokenizer; all ranks call, one ``writes``.

    Adapters are merged, and stand by themselves in ``directory/adapter`` as peft's files.
    """
    kept = _copied(full_parameters(language_model, partitioned=partitioned), writes)
    factors = [Weight(name, parameter) for name, parameter in adapter_parameters(language_model)]
    adapters = _copied(_drawn(factors, partitioned), writes)
    if not writes:
        return
    in_checkpoint = language_model.state_dict().keys()
    kept |= {
        plain_name(name): buffer.cpu()
        for name, buffer in language_model.named_buffers()
        if name in in_checkpoint
    }
    save = cast(Callable[..., None], language_model.save_pretrained)
    save(directory, state_dict=kept)
    cast(Any, AutoTokenizer).from_pretrained(tokenizer).save_pretrained(directory)
    if adapters:
        save_adapters(language_model, adapters, directory / "adapter")


def probe_tokens(vocabulary: int, *, length: int = 48) -> Tensor:
    """The token ids ``[length]`` of the log-prob probe: the same in every run and process."""
    generator = torch.Generator().manual_seed(20260)
    return torch.randint(vocabulary, (length,), generator=generator)


def _drawn(drawn: Iterable[Weight], partitioned: bool) -> Iterator[tuple[str, Tensor]]:
    for bucket in _buckets(drawn):
        if not partitioned:
            yield from ((weight.name, weight.value()) for weight in bucket)
            continue
        zero = importlib.import_module("deepspeed").zero
        gathered = [parameter for weight in bucket for parameter in weight.parameters]
        with zero.GatheredParameters(gathered, modifier_rank=None):
            yield from ((weight.name, weight.value()) for weight in bucket)


def _copied(tensors: Iterable[tuple[str, Tensor]], writes: bool) -> dict[str, Tensor]:
    kept: dict[str, Tensor] = {}
    for name, tensor in tensors:
        if writes:
            # Copied at once: the next bucket takes the gathered tensors away.
            kept[name] = tensor.to("cpu", copy=True)
    return kept


def _buckets(drawn: Iterable[Weight]) -> Iterator[list[Weight]]:
    bucket: list[Weight] = []
    nbytes = 0
    for weight in drawn:
        size = sum(_nbytes(parameter) for parameter in weight.parameters)
        if bucket and nbytes + size > BUCKET_BYTES:
            yield bucket
            bucket, nbytes = [], 0
        bucket.append(weight)
        nbytes += size
    if bucket:
        yield bucket


def _nbytes(parameter: nn.Parameter) -> int:
    # Under ZeRO-3 a parameter's own size is that of its part.
    numbers = cast(int, getattr(parameter, "ds_numel", parameter.numel()))
    return numbers * parameter.element_size()
