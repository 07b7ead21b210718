"""One rollout worker: the face that an engine shows to other processes."""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rlvr.rollout.engine import Sampling
from rlvr.types import Rollout, WeightVersion
from rlvr.weights.base import WeightManifest, WeightReceiver

if TYPE_CHECKING:
    from rlvr.rollout.vllm import Completion, VllmEngine

CPU_SEQUENCES = 256
CPU_BATCHED_TOKENS = 8192
CPU_BLOCK = 128
"""Tokens of a KV cache block on a CPU; every sequence takes at least one."""
CPU_CACHE_BYTES = 2 * 2**30
"""At most, for the KV cache on a CPU; ``kv_cache_memory_bytes`` in ``rollout.engine`` says more."""


class RolloutWorker:
    """Samples with vLLM in its own process. Every method but the constructor is a coroutine."""

    def __init__(
        self,
        *,
        name: str,
        model: str,
        channel: str,
        dtype: str,
        max_model_len: int,
        gpus: float,
        seed: int = 0,
        engine: Mapping[str, Any] | None = None,
    ) -> None:
        """``model`` is a directory; ``channel`` the module whose ``Receiver`` takes new weights.

        ``engine`` holds further vLLM engine arguments and wins over those that are made here.
        """
        self.name = name
        self._model = Path(model)
        self._channel = channel
        self._args = {
            "model": model,
            "dtype": dtype,
            "max_model_len": max_model_len,
            "seed": seed,
        }
        self._gpus = gpus
        self._overrides = dict(engine or {})
        self._engine: VllmEngine | None = None
        self._receiver: WeightReceiver | None = None
        self._tokenizer: Any = None

    async def start(self) -> dict[str, Any]:
        """Load model and tokenizer; return versions and limits, for the run's record."""
        self._refuse_what_cannot_work()
        await asyncio.to_thread(self._build)
        return {
            "name": self.name,
            "vllm": importlib.import_module("vllm").__version__,
            "torch": importlib.import_module("torch").__version__,
            "max_model_len": self._running.max_model_len,
        }

    async def generate(
        self, prompt_ids: Sequence[int], *, sampling: Sampling, seeds: Sequence[int]
    ) -> tuple[Rollout, ...]:
        """One rollout per seed, in the order of the seeds; see ``RolloutEngine``."""
        if not seeds:
            raise ValueError("generate() makes one rollout per seed and was given no seeds")
        prompt = tuple(prompt_ids)
        if len(prompt) >= self._running.max_model_len:
            raise ValueError(
                f"a prompt of {len(prompt)} tokens leaves no room for a completion in "
                f"max_model_len={self._running.max_model_len}: leave such prompts out (lower "
                "sampling.max_prompt_tokens) or raise the engine's max_model_len"
            )
        future = self._running.submit(prompt, sampling=sampling, seeds=seeds)
        completions = await asyncio.wrap_future(future)
        texts = self._decoded([completion.ids_T for completion in completions])
        return tuple(
            _rollout(prompt, completion, text, sampling.temperature)
            for completion, text in zip(completions, texts, strict=True)
        )

    async def load_weights(self, manifest: WeightManifest) -> dict[str, float]:
        """Load, prove and confirm; see ``RolloutEngine``. In-flight rollouts go on afterwards.

        Returns ``version``, ``bytes``, ``seconds``, ``probe_seconds`` and ``probe_difference``
        (mean absolute, nats; 0 where the manifest has no probe).
        """
        assert self._receiver is not None, "start() comes before load_weights()"
        return await asyncio.wrap_future(self._running.load(manifest, self._receiver))

    async def stats(self) -> dict[str, float]:
        """Requests in flight, and tokens and busy seconds since the start."""
        return self._running.stats()

    async def close(self) -> None:
        if self._engine is not None:
            await asyncio.to_thread(self._engine.close)
        if self._receiver is not None:
            self._receiver.close()

    @property
    def _running(self) -> VllmEngine:
        if self._engine is None:
            raise RuntimeError(f"{self.name}: start() comes before any other call")
        return self._engine

    def _refuse_what_cannot_work(self) -> None:
        if not (self._model / "config.json").is_file():
            raise FileNotFoundError(
                f"{self.name}: {self._model} has no config.json: model must be a directory with a "
                "Hugging Face checkpoint (download it first)"
            )
        for key in ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"):
            if self._overrides.get(key, 1) != 1:
                raise ValueError(
                    f"rollout.engine.{key}={self._overrides[key]}: an engine lives in one process "
                    "with one device; raise rollout.workers for more throughput"
                )

    def _build(self) -> None:
        # vLLM is imported here and not above: it takes seconds and a gigabyte, and the driver
        # imports this module. Without the collector its import takes half the time; what it made
        # is then frozen, as it lives as long as the process and need not be walked again.
        gc.disable()
        try:
            engine_module = importlib.import_module("rlvr.rollout.vllm")
            tokenizers = importlib.import_module("transformers")
        finally:
            gc.collect()
            gc.freeze()
            gc.enable()
        self._tokenizer = tokenizers.AutoTokenizer.from_pretrained(str(self._model))
        self._receiver = importlib.import_module(self._channel).Receiver()
        self._engine = engine_module.VllmEngine(
            self._args | self._device_args() | self._overrides,
            stop_token_ids=stop_token_ids(self._model, self._tokenizer),
        )

    def _device_args(self) -> dict[str, Any]:
        common: dict[str, Any] = {
            "logprobs_mode": "processed_logprobs",
            "skip_tokenizer_init": True,
            # Else a model's own top-k would be applied without the learner's knowledge.
            "generation_config": "vllm",
            "disable_log_stats": True,
            "use_tqdm_on_load": False,
            "distributed_executor_backend": "uni",
        }
        if self._gpus:
            return common
        sequences = int(self._overrides.get("max_num_seqs", CPU_SEQUENCES))
        longest = int(self._overrides.get("max_model_len", self._args["max_model_len"]))
        return common | {
            "enforce_eager": True,
            "max_num_seqs": sequences,
            # vLLM takes back the random draw of a prompt that it has read in part, and torch's CPU
            # generator can't go back.
            "enable_chunked_prefill": False,
            # A block is cached once its 128 tokens are full; short of that it only costs.
            "enable_prefix_caching": longest > 4 * CPU_BLOCK,
            "max_num_batched_tokens": max(CPU_BATCHED_TOKENS, longest),
            "kv_cache_memory_bytes": cpu_cache_bytes(
                json.loads((self._model / "config.json").read_text()),
                tokens=sequences * -(-longest // CPU_BLOCK) * CPU_BLOCK,
                bytes_per_value=4 if self._args["dtype"] in ("float32", "float") else 2,
            ),
        }

    def _decoded(self, ids: list[list[int]]) -> list[str]:
        return cast(list[str], self._tokenizer.batch_decode(ids, skip_special_tokens=True))


def stop_token_ids(model: Path, tokenizer: Any) -> tuple[int, ...]:
    """Every token that ends a completion: the model's own and the tokenizer's, sorted."""
    found: list[Any] = [tokenizer.eos_token_id]
    for name in ("generation_config.json", "config.json"):
        if (model / name).is_file():
            ids = json.loads((model / name).read_text()).get("eos_token_id")
            found += cast(list[Any], ids) if isinstance(ids, list) else [ids]
    return tuple(sorted({int(id) for id in found if id is not None}))


def cpu_cache_bytes(config: Mapping[str, Any], *, tokens: int, bytes_per_value: int) -> int:
    """Room for the keys and values of ``tokens``, but no more than ``CPU_CACHE_BYTES``.

    Less only means that sequences wait for one another.
    """
    heads = int(config["num_attention_heads"])
    width = int(config.get("head_dim") or config["hidden_size"] // heads)
    values = int(config.get("num_key_value_heads") or heads) * width
    layers = int(config["num_hidden_layers"])
    # One block more per layer than is needed: vLLM keeps one for itself, of at most 128 tokens.
    needed = 2 * layers * values * bytes_per_value * (tokens + 256)
    return min(needed, CPU_CACHE_BYTES)


def _rollout(
    prompt: tuple[int, ...], completion: Completion, text: str, temperature: float
) -> Rollout:
    versions: list[WeightVersion] = []
    for span_version, first, end in completion.spans:
        versions.extend([span_version] * (end - first))
    return Rollout(
        prompt_ids=prompt,
        completion_ids_T=tuple(completion.ids_T),
        logprobs_T=tuple(completion.logprobs_T),
        versions_T=tuple(versions),
        text=text,
        finish=completion.finish,
        temperature=temperature,
    )
