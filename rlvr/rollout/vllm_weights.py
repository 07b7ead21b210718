"""Puts new weights into a running vLLM model, all of them or none that counts.

vLLM computes with its own forms of the weights: fused, padded, packed or quantised. Its layerwise
reload takes a layer back to the form of a checkpoint, loads it and makes its own form anew, in the
storage that captured graphs already point to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, cast

import torch
from vllm.config import VllmConfig, set_current_vllm_config
from vllm.model_executor.layers.attention import is_deferred_attention_layer
from vllm.model_executor.layers.fused_moe.unquantized_fused_moe_method import (
    UnquantizedFusedMoEMethod,
)
from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm
from vllm.model_executor.layers.vocab_parallel_embedding import (
    ParallelLMHead,
    VocabParallelEmbedding,
)
from vllm.model_executor.model_loader.reload.layerwise import (
    finalize_layerwise_processing,
    get_layerwise_info,
    initialize_layerwise_reload,
)
from vllm.model_executor.model_loader.reload.types import LayerReloadingInfo
from vllm.platforms import current_platform

from rlvr.weights.base import WeightManifest, WeightProofError

Tensors = Iterable[tuple[str, torch.Tensor]]


@torch.no_grad()
def load(vllm_config: VllmConfig, model: Any, manifest: WeightManifest, tensors: Tensors) -> None:
    """Replace the weights of ``model`` by ``tensors``, named as in a Hugging Face checkpoint.

    Raises:
        WeightProofError: a tensor is unknown, misshapen, given twice or missing. The model then
            holds a mixture of old and new layers, in which a later load may be made.
    """
    _refuse_duplicates(manifest)
    feed = _Feed(tensors)
    with set_current_vllm_config(vllm_config):
        initialize_layerwise_reload(model)
        try:
            try:
                model.load_weights(feed)
            except WeightProofError:
                raise
            except Exception as error:  # vLLM's loaders raise whatever an index or assert gives
                raise WeightProofError(
                    f"version {manifest.version}: tensor {feed.last} does not fit the engine's "
                    f"{type(model).__name__} ({type(error).__name__}: {error}). Learner and engine "
                    "must be made from the same model"
                ) from error
            if lacking := _lacking(model):
                raise WeightProofError(
                    f"version {manifest.version}: nothing or too little arrived for "
                    f"{_listed(lacking)} of the engine's {type(model).__name__}. The learner must "
                    "send every weight under its checkpoint name"
                )
        except BaseException:
            _forget_arrivals(model)
            raise
        finally:
            finalize_layerwise_processing(model, vllm_config.model_config)
        _repack_on_cpu(model)


class _Feed:
    """Hands tensors on and remembers which was the last, for the error's sake."""

    def __init__(self, tensors: Tensors) -> None:
        self._tensors = tensors
        self.last = "(none)"

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        for name, tensor in self._tensors:
            self.last = f"{name} ({tensor.dtype}{list(tensor.shape)})"
            yield name, tensor


def _refuse_duplicates(manifest: WeightManifest) -> None:
    # A layer counts the elements that it was given: one half twice would pass for both.
    seen: set[str] = set()
    for entry in manifest.tensors:
        if entry.name in seen:
            raise WeightProofError(
                f"version {manifest.version}: tensor {entry.name} was sent twice"
            )
        seen.add(entry.name)


def _lacking(model: Any) -> list[str]:
    """Layers that did not get all their elements.

    A complete layer has been processed and has left the reload; one that is still in it lacks
    elements, unless nothing is ever sent for these.
    """
    tied = bool(getattr(model.config, "tie_word_embeddings", False))
    lacking: list[str] = []
    for name, layer in model.named_modules():
        info = get_layerwise_info(layer)
        if not info.can_load() or not info.load_numel_total or is_deferred_attention_layer(layer):
            continue
        if tied and isinstance(layer, ParallelLMHead):
            continue
        missing = info.load_numel_total - info.load_numel - _derived(info)
        if isinstance(layer, VocabParallelEmbedding):
            missing -= _padding(cast(Any, layer))
        if missing > 0:
            lacking.append(name)
    return lacking


def _derived(info: LayerReloadingInfo) -> int:
    """Elements of buffers that the model computes, such as rotary tables."""
    buffers = info.kernel_tensors[1] if info.kernel_tensors is not None else {}
    return sum(
        tensor.numel()
        for name, tensor in buffers.items()
        if name in info.kernel_non_persistent_buffers
    )


def _padding(embedding: Any) -> int:
    """Elements that fill the vocabulary up to a round size, and that nothing is ever sent for."""
    rows = embedding.num_embeddings_per_partition - embedding.org_vocab_size
    return int(rows * embedding.embedding_dim)


def _forget_arrivals(model: Any) -> None:
    """Let a failed reload put the old tensors back where a layer is not complete."""
    for layer in model.modules():
        info = get_layerwise_info(layer)
        if info.can_load():
            info.loaded_weights.clear()
            info.load_numel = 0


def _repack_on_cpu(model: Any) -> None:
    """Renew the packed copies that vLLM 0.32 leaves stale after a reload on a CPU.

    A tied head is sent nothing of its own, and the experts' packing runs on the first load only.
    """
    if not current_platform.is_cpu():
        return
    for layer in model.modules():
        packed = isinstance(layer, ParallelLMHead) and hasattr(layer, "cpu_linear")
        # An untied head was packed by its own load, which left its plain weight empty.
        if packed and cast(torch.Tensor, layer.weight).numel():
            dispatch_cpu_unquantized_gemm(layer, remove_weight=False)
        method = getattr(layer, "quant_method", None)
        if isinstance(method, UnquantizedFusedMoEMethod) and method.moe_kernel is not None:
            method.moe_kernel.fused_experts.process_weights_after_loading(layer)


def _listed(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
