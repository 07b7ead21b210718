"""What HTTP callers send to be graded and get back, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, cast

from rlvr.types import Message, Outcome, Problem, Verdict


class RequestError(ValueError):
    """A request that cannot be graded: what is wrong with it, and what is right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Texts to grade, all answers to one problem."""

    problem: Problem
    texts: tuple[str, ...]


def questions(body: bytes) -> tuple[list[Question], bool]:
    """What a body asks, and whether it is a batch.

    ``{"problem": {...}, "texts": [...]}``, or ``{"batch": [such, ...]}``.

    Raises:
        RequestError: says which field of it is wrong.
    """
    try:
        loaded: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is no JSON: {error}") from error
    asked = _fields(loaded, "the body", required=(), optional=("problem", "texts", "batch"))
    if "batch" not in asked:
        return [_question(asked, "the body")], False
    if len(asked) > 1:
        raise RequestError("the body has batch beside other fields; put these into the batch")
    batch = _list(asked["batch"], "batch")
    return [_question(one, f"batch[{index}]") for index, one in enumerate(batch)], True


def answer(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """What one question gets back: its verdicts, in the order of its texts."""
    return {"verdicts": [_verdict(verdict) for verdict in verdicts]}


def prometheus(stats: Mapping[str, float], gauges: Mapping[str, float]) -> str:
    """``RewardWorker.stats`` in Prometheus' text format; ``gauges``: ready and waiting."""
    outcomes = {f'{{outcome="{name}"}}': stats[f"outcome/{name}"] for name in Outcome}
    quantiles = {
        '{quantile="0.5"}': stats["latency_seconds/p50"],
        '{quantile="0.99"}': stats["latency_seconds/p99"],
        "_sum": stats["working_seconds"],
        "_count": stats["graded"],
    }
    blocks = [
        _block("verdicts_total", "counter", "Verdicts given.", outcomes),
        _block("verdict_seconds", "summary", "From dispatch to verdict.", quantiles),
        *(
            _block(f"{name}_total", "counter", text, {"": stats[name]})
            for name, text in _COUNTERS.items()
        ),
        _block("busy", "gauge", "Share of grading processes at work.", {"": stats["busy"]}),
        *(_block(name, "gauge", _GAUGES[name], {"": value}) for name, value in gauges.items()),
    ]
    return "".join(blocks)


_GAUGES = {
    "ready": "Whether known answers have been graded right.",
    "waiting": "Texts that are being graded or wait for it.",
}
_COUNTERS = {
    "killed": "Grading processes that overran and were killed.",
    "died": "Grading processes that ended by themselves.",
    "cache_hits": "Verdicts that were known from an equal answer.",
    "queue_seconds": "From the arrival of each text to its dispatch, summed over texts.",
}


def _block(name: str, kind: str, text: str, values: Mapping[str, float]) -> str:
    full = f"rlvr_reward_{name}"
    lines = [f"{full}{label} {value:.17g}\n" for label, value in values.items()]
    return f"# HELP {full} {text}\n# TYPE {full} {kind}\n{''.join(lines)}"


def _question(loaded: Any, where: str) -> Question:
    asked = _fields(loaded, where, required=("problem", "texts"))
    texts = _list(asked["texts"], f"{where}: texts")
    for index, text in enumerate(texts):
        _text(text, f"{where}: texts[{index}]")
    return Question(problem=_problem(asked["problem"], f"{where}: problem"), texts=tuple(texts))


def _problem(loaded: Any, where: str) -> Problem:
    optional = ("id", "prompt", "source", "extra")
    given = _fields(loaded, where, required=("answer",), optional=optional)
    extra = given.get("extra", {})
    return Problem(
        id=_text(given.get("id", ""), f"{where}.id"),
        prompt=_prompt(given.get("prompt", ""), f"{where}.prompt"),
        answer=_text(given["answer"], f"{where}.answer"),
        source=_text(given.get("source", ""), f"{where}.source"),
        extra=cast(dict[str, Any], _typed(extra, dict, f"{where}.extra", "an object")),
    )


def _prompt(loaded: Any, where: str) -> str | tuple[Message, ...]:
    if isinstance(loaded, str):
        return loaded
    turns = [
        _fields(turn, f"{where}[{index}]", required=("role", "content"))
        for index, turn in enumerate(_typed(loaded, list, where, "a text or a list of messages"))
    ]
    return tuple(
        Message(
            role=_text(turn["role"], f"{where}[{index}].role"),
            content=_text(turn["content"], f"{where}[{index}].content"),
        )
        for index, turn in enumerate(turns)
    )


def _fields(
    loaded: Any, where: str, *, required: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, Any]:
    given = cast(dict[str, Any], _typed(loaded, dict, where, "an object"))
    known = (*required, *optional)
    for name in required:
        if name not in given:
            raise RequestError(f"{where} lacks {name!r}; it has {', '.join(known)}")
    for name in given:
        if name not in known:
            raise RequestError(f"{where} has an unknown field {name!r}; it has {', '.join(known)}")
    return given


def _list(loaded: Any, where: str) -> list[Any]:
    return _typed(loaded, list, where, "a list")


def _text(loaded: Any, where: str) -> str:
    return _typed(loaded, str, where, "a text")


def _typed(loaded: Any, kind: type[Any], where: str, name: str) -> Any:
    if not isinstance(loaded, kind):
        raise RequestError(f"{where} is {_KINDS[type(loaded)]}; it has to be {name}")
    return loaded


_KINDS: dict[type[Any], str] = {
    dict: "an object",
    list: "a list",
    str: "a text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "null",
}


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "outcome": verdict.outcome.value,
        "reward": verdict.reward,
        "extracted": verdict.extracted,
        "detail": verdict.detail,
        # JSON has no NaN
        "parts": {name: v if isfinite(v) else None for name, v in verdict.parts.items()},
        "verifier": verdict.verifier,
    }
