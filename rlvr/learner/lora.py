"""Low-rank adapters (LoRA, arXiv:2106.09685) in a language model that stays what it is.

They are peft's layers, put in place: the model keeps its class, its trunk and its head; its own
weights are frozen, and to anyone who asks for its weights it answers with the merged ones. These
are in the weights' own type: in bfloat16 a change under half a step of a weight is not in them yet,
though the learner computes with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor, nn
from transformers import PreTrainedModel

from rlvr.learner.settings import LoraSettings

ADAPTER = "default"
"""The adapters' name in peft's layers; peft's files leave it out."""

ALL_LINEAR = "all-linear"
WRAPPED = ".base_layer."
"""What peft puts into the name of a layer's own parameters."""


@dataclass(frozen=True, slots=True)
class Weight:
    """A parameter under its checkpoint's name, and what an adapter adds to it."""

    name: str
    base: nn.Parameter
    adapter: LoraLayer | None = None

    @property
    def parameters(self) -> tuple[nn.Parameter, ...]:
        """Those that the value is made of."""
        return (self.base,) if self.adapter is None else (self.base, *_factors(self.adapter))

    def value(self) -> Tensor:
        """``W + alpha / rank * B A``, added in fp32 and in W's type; W itself without an adapter.

        Its parameters must be whole.
        """
        base = self.base.detach()
        if self.adapter is None:
            return base
        down, up = (factor.detach().float() for factor in _factors(self.adapter))
        scale = cast(dict[str, float], self.adapter.scaling)[ADAPTER]
        return torch.addmm(base.float(), up, down, alpha=scale).to(base.dtype)


def add_adapters(language_model: PreTrainedModel, settings: LoraSettings, *, seed: int) -> None:
    """Put an adapter beside each linear layer that ``settings.targets`` names; freeze the rest.

    The adapters are in the layers' type (DeepSpeed keeps fp32 masters of bfloat16 ones), are the
    same for the same seed, and change nothing until they are trained: B starts at 0. Neither the
    head nor the embeddings get one, for the fused head reads the head's own weight.

    Raises:
        ValueError: a target that names no linear layer, the head, or a layer of another kind.
    """
    targets = sorted(_targeted(language_model, settings.targets))
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=cast(int, settings.alpha),
        target_modules=targets,
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
        base_model_name_or_path=language_model.name_or_path,
    )
    layers = [cast(nn.Linear, language_model.get_submodule(name)) for name in targets]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        inject_adapter_in_model(config, language_model, adapter_name=ADAPTER)
    for name, layer in zip(targets, layers, strict=True):
        # peft makes fp32 adapters, and DeepSpeed would turn them into bfloat16 without a word.
        for factor in _factors(cast(LoraLayer, language_model.get_submodule(name))):
            factor.data = factor.data.to(layer.weight.dtype)


@contextmanager
def adapters_off(language_model: nn.Module) -> Generator[None]:
    """Within it the model is the one that the adapters were added to. No gradients meanwhile."""
    layers = list(_adapted(language_model).values())
    for layer in layers:
        layer.enable_adapters(False)
    try:
        with torch.no_grad():
            yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def weights(language_model: nn.Module) -> Iterator[Weight]:
    """The parameters of a checkpoint without adapters, each once and in the model's own order."""
    adapters = {f"{name}{WRAPPED}weight": layer for name, layer in _adapted(language_model).items()}
    inner = {
        id(factor)
        for layer in adapters.values()
        for factors in (layer.lora_A, layer.lora_B)
        for factor in factors.parameters()
    }
    for name, parameter in language_model.named_parameters():
        if id(parameter) not in inner:
            yield Weight(plain_name(name), parameter, adapters.get(name))


def plain_name(name: str) -> str:
    """A parameter's or buffer's name before the adapters were added."""
    return name.replace(WRAPPED, ".")


def adapter_parameters(language_model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """The adapters' own parameters, named as in peft's files; none where there is no adapter."""
    return [
        (f"base_model.model.{name}.lora_{letter}.weight", factor)
        for name, layer in _adapted(language_model).items()
        for letter, factor in zip("AB", _factors(layer), strict=True)
    ]


def save_adapters(
    language_model: PreTrainedModel, tensors: Mapping[str, Tensor], directory: Path
) -> None:
    """Write what peft's ``from_pretrained`` loads: the tensors of ``adapter_parameters``."""
    directory.mkdir(parents=True, exist_ok=True)
    configs = cast(Mapping[str, LoraConfig], cast(Any, language_model).peft_config)
    trained = replace(configs[ADAPTER], inference_mode=True)
    cast(Callable[[str], None], trained.save_pretrained)(str(directory))
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()},
        directory / "adapter_model.safetensors",
        metadata={"format": "pt"},
    )


def _adapted(language_model: nn.Module) -> dict[str, LoraLayer]:
    modules = cast(Iterator[tuple[str, nn.Module]], language_model.named_modules())
    return {name: module for name, module in modules if isinstance(module, LoraLayer)}


def _factors(layer: LoraLayer) -> tuple[nn.Parameter, nn.Parameter]:
    """``A [rank, in]`` and ``B [out, rank]``."""
    down, up = (cast(nn.Linear, factors[ADAPTER]) for factors in (layer.lora_A, layer.lora_B))
    return cast(nn.Parameter, down.weight), cast(nn.Parameter, up.weight)


def _targeted(language_model: PreTrainedModel, targets: tuple[str, ...] | str) -> set[str]:
    """Full names of the layers that get an adapter: peft's own rules, but nothing is ignored."""
    head = cast(Any, language_model.get_output_embeddings())
    modules = dict(cast(Iterator[tuple[str, nn.Module]], language_model.named_modules()))
    linear = {n for n, m in modules.items() if isinstance(m, nn.Linear) and m is not head}
    if targets == ALL_LINEAR:
        if not linear:
            raise ValueError(_refusal(language_model, ALL_LINEAR, "there is none", linear))
        return linear
    found: set[str] = set()
    for target in (targets,) if isinstance(targets, str) else targets:
        if isinstance(targets, str):
            named = {name for name in modules if re.fullmatch(targets, name)}
        else:
            named = {name for name in modules if name == target or name.endswith(f".{target}")}
        if not named:
            whole = "no layer's whole name matches it"
            reason = whole if isinstance(targets, str) else "no layer has that name"
            raise ValueError(_refusal(language_model, target, reason, linear))
        if others := sorted(named - linear):
            kind = type(modules[others[0]]).__name__
            what = "the head" if modules[others[0]] is head else f"a {kind}"
            reason = f"{others[0] or 'the model'} is {what}, and only a linear layer in the trunk"
            raise ValueError(_refusal(language_model, target, f"{reason} can have one", linear))
        found |= named
    return found


def _refusal(language_model: nn.Module, target: str, reason: str, linear: set[str]) -> str:
    names = ", ".join(sorted({name.rpartition(".")[2] for name in linear})) or "none"
    return (
        f"learner.lora.targets has {target!r}: {reason} in {type(language_model).__name__}; take "
        f"{ALL_LINEAR}, or a list of some of its linear layers: {names}"
    )
