"""What each calling convention passes for a problem and the completions of it.

A function that grades one completion is given the first; one of whole groups, lists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

from rlvr.types import Problem

Arguments = dict[str, Any]


class Turn(dict[str, Any]):
    """A message whose fields are keys and attributes, as verifiers' have been in turn."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def plain(problem: Problem) -> str:
    """The prompt as one text."""
    prompt = problem.prompt
    return prompt if isinstance(prompt, str) else "\n".join(turn.content for turn in prompt)


def columns(problem: Problem) -> Arguments:
    """The row that the problem was made of, as far as it is known."""
    own = problem.extra.get("answer")
    # As a text it may hold the way to the answer, too; as a number it is what a function compares.
    answer = problem.answer if own is None or isinstance(own, str) else own
    # What functions call the reference must not decide which data they can be used with.
    reference = dict.fromkeys(("solution", "ground_truth", "label"), problem.answer)
    known = {"source": problem.source, "id": problem.id, **reference}
    return {**known, **problem.extra, "answer": answer}


def native(problem: Problem, texts: Sequence[str]) -> Arguments:
    return {"problem": problem, "text": texts[0]}


def verl(problem: Problem, texts: Sequence[str]) -> Arguments:
    # ``predict_str`` and ``model_output`` are what some of verl's own functions call it.
    solution = dict.fromkeys(("solution_str", "predict_str", "model_output"), texts[0])
    return solution | {
        "data_source": problem.source,
        "ground_truth": _ground_truth(problem),
        "extra_info": _extra_info(problem),
    }


def verl_batch(problem: Problem, texts: Sequence[str]) -> Arguments:
    return {
        "data_sources": [problem.source] * len(texts),
        "solution_strs": list(texts),
        "ground_truths": [_ground_truth(problem)] * len(texts),
        "extra_infos": [_extra_info(problem) for _ in texts],
    }


def _ground_truth(problem: Problem) -> Any:
    """As verl's row has it, which need not be a text."""
    return _inner(problem, "reward_model").get("ground_truth", problem.answer)


def _extra_info(problem: Problem) -> Arguments:
    """verl's own column where there is one, or else all columns."""
    return dict(_inner(problem, "extra_info") or problem.extra)


def _inner(problem: Problem, column: str) -> Mapping[str, Any]:
    """A column that has columns of its own; empty where there is none."""
    value: object = problem.extra.get(column)
    return cast(Mapping[str, Any], value) if isinstance(value, Mapping) else {}


def openrlhf(problem: Problem, texts: Sequence[str]) -> Arguments:
    prompt = plain(problem)
    return {
        "queries": [prompt + text for text in texts],
        "prompts": [prompt] * len(texts),
        "labels": [problem.answer] * len(texts),
    }


def areal(problem: Problem, texts: Sequence[str]) -> Arguments:
    # Its workflows pass by position, so that the same two texts have several names.
    prompts = dict.fromkeys(("prompt", "prompt_str"), plain(problem))
    names = ("completions", "completion", "completions_str", "completion_str", "result")
    return columns(problem) | prompts | dict.fromkeys(names, texts[0])


def slime(problem: Problem, texts: Sequence[str]) -> Arguments:
    sample = SimpleNamespace(
        index=0,
        prompt=problem.prompt if isinstance(problem.prompt, str) else _chat(problem),
        response=texts[0],
        label=problem.answer,
        metadata=columns(problem),
    )
    return {"args": SimpleNamespace(), "sample": sample}


def verifiers(problem: Problem, texts: Sequence[str]) -> Arguments:
    (own,) = _states(problem, texts[:1])
    return columns(problem) | own | {"state": dict(own)}


def verifiers_group(problem: Problem, texts: Sequence[str]) -> Arguments:
    states = _states(problem, texts)
    plural = {"prompt", "completion", "answer", "info", "task"}
    return {f"{name}s": [state[name] for state in states] for name in plural} | {"states": states}


def _states(problem: Problem, texts: Sequence[str]) -> list[Arguments]:
    return [
        {
            "prompt": _chat(problem),
            "completion": [Turn(role="assistant", content=text)],
            "answer": problem.answer,
            "info": dict(_inner(problem, "info") or problem.extra),
            "task": problem.extra.get("task", problem.source or "default"),
        }
        for text in texts
    ]


def _chat(problem: Problem) -> list[Turn]:
    if isinstance(problem.prompt, str):
        return [Turn(role="user", content=problem.prompt)]
    return [Turn(role=turn.role, content=turn.content) for turn in problem.prompt]


def trl(problem: Problem, texts: Sequence[str]) -> Arguments:
    """A chat prompt makes the completions chats too, as in TRL."""
    if not isinstance(problem.prompt, str):
        return trl_chat(problem, texts)
    own = {"prompts": [problem.prompt] * len(texts), "completions": list(texts)}
    return _repeated(problem, len(texts)) | own


def trl_chat(problem: Problem, texts: Sequence[str]) -> Arguments:
    """Prompt and completions are chats."""
    prompt = [dict(turn) for turn in _chat(problem)]
    completions = [[{"role": "assistant", "content": text}] for text in texts]
    own = {"prompts": [prompt] * len(texts), "completions": completions}
    return _repeated(problem, len(texts)) | own


def _repeated(problem: Problem, count: int) -> Arguments:
    return {name: [value] * count for name, value in columns(problem).items()}
