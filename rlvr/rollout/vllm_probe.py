"""Proves that an engine computes with the weights that it was handed."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

from vllm import SamplingParams
from vllm.inputs import tokens_input
from vllm.outputs import RequestOutput
from vllm.v1.core.sched.request_queue import create_request_queue
from vllm.v1.engine.llm_engine import LLMEngine

from rlvr.types import WeightVersion
from rlvr.weights.base import LogprobProbe, WeightProofError

STEPS = 10_000
"""A probe takes one step per ``max_num_batched_tokens`` tokens; past this it is stuck."""


def prove(engine: LLMEngine, probe: LogprobProbe, version: WeightVersion) -> float:
    """Mean absolute difference (nats) between the learner's log-probs and the engine's.

    Both are at temperature 1. Every running request must have been preempted.

    Raises:
        WeightProofError: the difference is above the probe's tolerance, or not a number.
    """
    theirs_T = probe.logprobs_T
    if not theirs_T or len(theirs_T) != len(probe.token_ids_T) - 1:
        raise WeightProofError(
            f"version {version}: the probe has {len(probe.token_ids_T)} tokens and {len(theirs_T)} "
            "log-probs; there must be one log-prob for every token but the first"
        )
    ours_T = _score(engine, list(probe.token_ids_T), version)
    gaps_T = [abs(ours - theirs) for ours, theirs in zip(ours_T, theirs_T, strict=True)]
    difference = sum(gaps_T) / len(gaps_T)
    # Written so that NaN does not pass.
    if not difference <= probe.tolerance:
        raise WeightProofError(
            f"version {version}: the log-probs of the probe differ from the learner's by "
            f"{difference:.3g} nats on average (at most {max(gaps_T):.3g}) and "
            f"{probe.tolerance:.3g} passes: the engine computes with other weights or in another "
            "way. Check that both load the same model, and weights.probe_tolerance"
        )
    return difference


def _score(engine: LLMEngine, ids_T: list[int], version: WeightVersion) -> list[float]:
    """Log-prob of each token but the first."""
    params = SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=0, detokenize=False)
    with _alone(engine):
        key = engine.add_request(f"probe-{version}", tokens_input(ids_T), params)
        try:
            for _ in range(STEPS):
                for output in engine.step():
                    if output.finished:
                        return _prompt_logprobs(cast(RequestOutput, output), ids_T)
        finally:
            engine.abort_request([key], internal=True)
    raise WeightProofError(f"version {version}: the probe was not scored within {STEPS} steps")


@contextmanager
def _alone(engine: LLMEngine) -> Generator[None]:
    """Hold back every other request, so that no token is drawn from unproven weights."""
    scheduler = cast(Any, engine.engine_core).engine_core.scheduler
    if scheduler.running or scheduler.kv_holding_waiting:
        raise RuntimeError("a probe needs every running request to be preempted first")
    held = scheduler.waiting
    scheduler.waiting = create_request_queue(scheduler.policy)
    try:
        yield
    finally:
        scheduler.waiting = held


def _prompt_logprobs(output: RequestOutput, ids_T: list[int]) -> list[float]:
    rows = cast(list[Any], output.prompt_logprobs)
    return [row[token].logprob for row, token in zip(rows[1:], ids_T[1:], strict=True)]
