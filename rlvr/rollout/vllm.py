"""A vLLM engine in this process, driven by one thread.

    submit --\\                           /--> a future per group
    load   ---+--> inbox --> [ thread ] -+
    abort  --/    commands    steps       \\--> metrics of a load

The thread takes commands between steps only, so a load can never meet a forward pass: while it
runs nothing is stepped, and what was running is preempted first and then recomputes its KV cache
with the new weights.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from typing import Any, cast

from vllm import EngineArgs, SamplingParams
from vllm.inputs import tokens_input
from vllm.outputs import CompletionOutput, RequestOutput
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.llm_engine import LLMEngine

from rlvr.rollout import vllm_probe, vllm_weights
from rlvr.rollout.engine import Sampling
from rlvr.types import Finish, WeightVersion
from rlvr.weights.base import WeightManifest, WeightProofError, WeightReceiver

IDLE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What the engine made of one seed."""

    ids_T: list[int]
    logprobs_T: list[float]
    spans: tuple[tuple[WeightVersion, int, int], ...]
    """Version, first token, token after the last."""
    finish: Finish


Completions = tuple[Completion, ...]


@dataclass(slots=True)
class _Group:
    ids: list[str]
    future: Future[Completions]
    outputs: dict[str, Completion] = field(default_factory=dict[str, Completion])


class VllmEngine:
    """Turns token ids into token ids. Its methods may be called from any thread."""

    def __init__(self, args: Mapping[str, Any], *, stop_token_ids: Sequence[int]) -> None:
        """Return when the engine is up. ``args`` are vLLM's own engine arguments."""
        self._stop_token_ids = list(stop_token_ids)
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._groups: dict[str, _Group] = {}
        self._numbers = itertools.count()
        self._broken: Exception | None = None
        self._unproven: WeightProofError | None = None
        self._closing = False
        self._version = WeightVersion(0)
        self._steps = 0
        self._tokens = 0
        self._busy_seconds = 0.0
        started: Future[LLMEngine] = Future()
        # The thread that steps the engine also makes it: CUDA contexts and thread counts are its.
        self._thread = threading.Thread(
            target=self._run, args=(dict(args), started), name="vllm-engine", daemon=True
        )
        self._thread.start()
        self._engine = started.result()

    @property
    def max_model_len(self) -> int:
        """Prompt and completion tokens together, at most."""
        return self._engine.model_config.max_model_len

    def submit(
        self, prompt_ids: Sequence[int], *, sampling: Sampling, seeds: Sequence[int]
    ) -> Future[Completions]:
        """One completion per seed. Cancelling the future aborts them."""
        future: Future[Completions] = Future()
        prompt = list(prompt_ids)
        seeds = list(seeds)
        self._inbox.put(lambda: self._add(prompt, sampling, seeds, future))
        return future

    def load(self, manifest: WeightManifest, receiver: WeightReceiver) -> Future[dict[str, float]]:
        """Load and prove; a failure makes every later ``submit`` fail until a load succeeds."""
        future: Future[dict[str, float]] = Future()
        self._inbox.put(lambda: _settle(future, lambda: self._load(manifest, receiver)))
        return future

    def stats(self) -> dict[str, float]:
        """Totals since the start, and what is in flight."""
        return {
            "requests": float(len(self._groups)),
            "steps": float(self._steps),
            "tokens": float(self._tokens),
            "busy_seconds": self._busy_seconds,
            "version": float(self._version),
            "refuses": float(bool(self._broken or self._unproven)),
        }

    def close(self, seconds: float = 30.0) -> None:
        """End the thread; what is in flight fails.

        Raises:
            TimeoutError: a step is still running after ``seconds``.
        """
        self._inbox.put(self._close)
        self._thread.join(seconds)
        if self._thread.is_alive():
            raise TimeoutError(f"the vLLM engine's thread was still in a step after {seconds} s")

    # What follows runs in the engine's thread alone.

    def _run(self, args: dict[str, Any], started: Future[LLMEngine]) -> None:
        try:
            self._engine = LLMEngine.from_engine_args(EngineArgs(**args))
            self._engine.set_weight_version(str(self._version))
        except BaseException as error:
            started.set_exception(error)
            return
        started.set_result(self._engine)
        while not self._closing:
            try:
                self._take_commands(wait=not self._groups)
                if self._groups and not self._closing:
                    self._step()
            except Exception as error:
                self._break(error)
        self._engine.engine_core.shutdown()

    def _take_commands(self, *, wait: bool) -> None:
        try:
            if wait:
                self._inbox.get(timeout=IDLE_SECONDS)()
            while not self._closing:
                self._inbox.get_nowait()()
        except queue.Empty:
            pass

    def _step(self) -> None:
        began = time.perf_counter()
        for output in self._engine.step():
            self._deliver(cast(RequestOutput, output))
        self._steps += 1
        self._busy_seconds += time.perf_counter() - began
        self._drop_cancelled()

    def _deliver(self, output: RequestOutput) -> None:
        group = self._groups.pop(output.request_id, None)
        if group is None or not output.finished:
            return
        completion = _completion(output.outputs[0])
        self._tokens += len(completion.ids_T)
        group.outputs[output.request_id] = completion
        if len(group.outputs) == len(group.ids):
            with suppress(InvalidStateError):  # cancelled
                group.future.set_result(tuple(group.outputs[key] for key in group.ids))

    def _add(
        self,
        prompt: list[int],
        sampling: Sampling,
        seeds: list[int],
        future: Future[Completions],
    ) -> None:
        if refusal := self._broken or self._unproven:
            _fail(future, refusal)
            return
        try:
            ids = self._add_requests(prompt, sampling, seeds)
        except Exception as error:  # vLLM refuses a request in many ways; the caller gets each
            _fail(future, error)
            return
        group = _Group(ids=ids, future=future)
        for key in ids:
            self._groups[key] = group

    def _add_requests(self, prompt: list[int], sampling: Sampling, seeds: list[int]) -> list[str]:
        """Check and convert once, and give each seed a copy: that is most of a request's cost."""
        engine = self._engine
        template = engine.input_processor.process_inputs(
            "template",
            tokens_input(prompt),
            self._sampling_params(sampling, seed=seeds[0]),
            supported_tasks=engine.get_supported_tasks(),
        )
        ids: list[str] = []
        for seed in seeds:
            request = copy(template)
            params = copy(cast(SamplingParams, template.sampling_params))
            params.seed = seed
            request.sampling_params = params
            key = str(next(self._numbers))
            request.request_id = key
            request.external_req_id = key
            engine.output_processor.add_request(request, None, None, 0)
            engine.engine_core.add_request(request)
            ids.append(key)
        return ids

    def _sampling_params(self, sampling: Sampling, *, seed: int) -> SamplingParams:
        return SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            seed=seed,
            stop_token_ids=self._stop_token_ids,
            logprobs=0,
            flat_logprobs=True,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def _drop_cancelled(self) -> None:
        cancelled = [key for key, group in self._groups.items() if group.future.cancelled()]
        if cancelled:
            self._engine.abort_request(cancelled)
            for key in cancelled:
                del self._groups[key]

    def _load(self, manifest: WeightManifest, receiver: WeightReceiver) -> dict[str, float]:
        if self._broken is not None:
            raise self._broken
        began = time.perf_counter()
        try:
            self._engine.reset_prefix_cache(reset_running_requests=True)
            self._engine.collective_rpc(_loading(manifest, receiver))
            loaded = time.perf_counter()
            difference = 0.0
            if manifest.probe is not None:
                difference = vllm_probe.prove(self._engine, manifest.probe, manifest.version)
            self._engine.set_weight_version(str(manifest.version))
        except Exception as error:
            self._unproven = WeightProofError(
                f"this engine refuses to generate: version {manifest.version} failed its proof "
                f"({error}). It generates again after a load that succeeds; if the next one fails "
                "too, restart this rollout worker"
            )
            self._fail_all(self._unproven)
            if isinstance(error, WeightProofError):
                raise
            raise WeightProofError(
                f"version {manifest.version} was not loaded ({type(error).__name__}: {error})"
            ) from error
        self._version = manifest.version
        self._unproven = None
        return {
            "version": float(manifest.version),
            "bytes": float(sum(entry.nbytes for entry in manifest.tensors)),
            "seconds": time.perf_counter() - began,
            "probe_seconds": time.perf_counter() - loaded,
            "probe_difference": difference,
        }

    def _break(self, error: Exception) -> None:
        self._broken = RuntimeError(
            f"the vLLM engine failed ({type(error).__name__}: {error}) and is in an unknown state: "
            "restart this rollout worker"
        )
        self._broken.__cause__ = error
        self._fail_all(self._broken)

    def _fail_all(self, error: Exception) -> None:
        for group in self._groups.values():
            _fail(group.future, error)
        ids = list(self._groups)
        self._groups.clear()
        if self._broken is None:
            self._engine.abort_request(ids)

    def _close(self) -> None:
        self._closing = True
        self._fail_all(RuntimeError("the vLLM engine was closed"))


def _settle(future: Future[dict[str, float]], work: Callable[[], dict[str, float]]) -> None:
    try:
        result = work()
    except Exception as error:
        _fail(future, error)
        return
    with suppress(InvalidStateError):  # cancelled
        future.set_result(result)


def _fail(future: Future[Any], error: Exception) -> None:
    # Each waiter its own: one object raised in many places gathers all of their tracebacks.
    try:
        own = copy(error)
    except Exception:  # its constructor takes something else than what it keeps
        own = RuntimeError(f"{type(error).__name__}: {error}")
    own.__cause__ = error.__cause__
    with suppress(InvalidStateError):  # cancelled
        future.set_exception(own)


def _loading(manifest: WeightManifest, receiver: WeightReceiver) -> Callable[[Any], None]:
    def load(worker: Any) -> None:
        runner = worker.model_runner
        tensors = receiver.receive(manifest)
        vllm_weights.load(worker.vllm_config, runner.model, manifest, tensors)

    return load


def _completion(output: CompletionOutput) -> Completion:
    return Completion(
        ids_T=list(output.token_ids),
        logprobs_T=cast(Any, output.logprobs).logprobs,
        spans=tuple(
            (WeightVersion(int(span.version)), span.start, span.end)
            for span in output.weight_versions or ()
        ),
        finish=Finish(output.finish_reason or Finish.ABORT),
    )
