"""Calling conventions of reward functions: how each is told, and what it is called with.

native           f(problem, text)                                                     one result
verl             f(data_source, solution_str, ground_truth, extra_info)               one result
verl-batch       f(data_sources, solution_strs, ground_truths, extra_infos)           a list
OpenRLHF         f(queries, prompts, labels)                                          a list
AReaL            f(prompt, completions, prompt_ids, completion_ids, **columns)        one result
slime            f(args, sample)                                                      one result
verifiers        f(prompt, completion, answer, state, info, task, parser, **columns)  one result
verifiers-group  f(prompts, completions, answers, states, infos, tasks)               a list
TRL              f(prompts, completions, **columns)                                   a list
TRL-chat         the same, of a function that looks for ``["content"]`` itself        a list

A list has one result per completion, all of one problem. What results mean: ``results``.
"""

from __future__ import annotations

import dis
import inspect
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from types import CodeType
from typing import Any, cast

from rlvr.rewards.porting import arguments
from rlvr.rewards.porting.arguments import Arguments
from rlvr.types import Problem

TOKENS = frozenset(
    {"prompt_ids", "completion_ids", "completion_mask", "input_tokens", "output_tokens"}
)
"""Of these a reward of texts knows nothing, though other frameworks pass them."""
LOGS = frozenset({"log_extra", "log_metric"})
"""TRL's ways to log; given when the function is called."""


class RewardSpecError(ValueError):
    """A reward that cannot be loaded: what was named, the reason, and the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """One calling convention."""

    name: str
    signature: str
    marks: tuple[frozenset[str], ...]
    """Parameters that tell it from those after it in ``STYLES``: all of any one set."""
    reads: str = ""
    """A key that its body must look up, too."""
    arguments: Callable[[Problem, Sequence[str]], Arguments]
    """What is passed for these completions; one completion where it is not ``batched``."""
    batched: bool = False
    """One call takes all completions of a problem and returns a list."""
    takes_columns: bool = False
    """Its other parameters are columns of the problem."""
    logs: bool = False
    """It may ask for ``LOGS``."""
    unknown: frozenset[str] = TOKENS
    """What its own framework passes and this one cannot."""


def recognise(
    function: Callable[..., Any], name: str, style: str = "", *, given: Collection[str] = ()
) -> Style:
    """The convention named ``style``, or else the one that a function's parameters follow.

    ``given`` are parameters that the caller passes beside the convention's own.

    Raises:
        RewardSpecError: none, or it asks for more than its convention passes here.
    """
    parameters = inspect.signature(function).parameters
    told = _told(function)
    found = named(style, name) if style else told
    if found is None:
        known = "; ".join(f"{style.name}: {style.signature}" for style in STYLES)
        raise RewardSpecError(
            f"reward={name}: its parameters ({', '.join(parameters)}) follow no known convention. "
            f"Name them as in one of these, or set reward.style: {known}"
        )
    if told is not None and not any(marks <= set(parameters) for marks in found.marks):
        raise RewardSpecError(
            f"reward={name}: style={style} passes {found.signature}, and its parameters "
            f"({', '.join(parameters)}) are those of {told.name}; use that style, or none"
        )
    passed = set(found.arguments(Problem(id="", prompt="", answer=""), [""]))
    missing = required(function) - passed - set(given) - (LOGS if found.logs else set())
    if unknown := sorted(n for n in missing & found.unknown if _reads(function, n)):
        raise RewardSpecError(
            f"reward={name}: it reads {', '.join(unknown)}, which {found.name} passes and a reward "
            "of texts does not know here. Work from the text, or shape the reward by tokens after "
            "grading (rlvr.rewards.base.Shaping)"
        )
    if not found.takes_columns and (other := sorted(missing - found.unknown)):
        raise RewardSpecError(
            f"reward={name}: {found.name} passes no parameter {', '.join(other)}. Give it a "
            f"default, a value in reward.kwargs, or remove it; what is passed: {found.signature}"
        )
    return found


def named(style: str, name: str) -> Style:
    """The convention of that name, in upper or lower case.

    Raises:
        RewardSpecError: there is none.
    """
    for known in STYLES:
        if known.name.lower() == style.lower().replace("_", "-"):
            return known
    names = ", ".join(known.name for known in STYLES)
    raise RewardSpecError(f"reward={name}: style={style!r} is not known; use one of {names}")


def required(function: Callable[..., Any]) -> set[str]:
    """Parameters that a call has to give."""
    return {
        p.name
        for p in inspect.signature(function).parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    }


def _told(function: Callable[..., Any]) -> Style | None:
    parameters = set(inspect.signature(function).parameters)
    for style in STYLES:
        told = any(marks <= parameters for marks in style.marks)
        if told and (not style.reads or _looks_up(_code(function), style.reads)):
            return style
    return None


def _code(function: Callable[..., Any]) -> CodeType | None:
    """The function's own body; None where it cannot be seen."""
    while isinstance(function, partial):
        function = cast(Callable[..., Any], function.func)
    return getattr(inspect.unwrap(function), "__code__", None)


def _reads(function: Callable[..., Any], parameter: str) -> bool:
    """Whether the function's body looks at a parameter; true where its body cannot be seen."""
    code = _code(function)
    return code is None or any(
        parameter in (step.argval if isinstance(step.argval, tuple) else (step.argval,))
        for step in dis.get_instructions(code)
        if "LOAD_FAST" in step.opname or step.opname in _CLOSURES
    )


def _looks_up(code: CodeType | None, key: str) -> bool:
    """Whether a body, or one inside it, has ``[key]``."""
    if code is None:
        return False
    steps = list(dis.get_instructions(code))
    return any(
        step.opname == "LOAD_CONST"
        and step.argval == key
        and (after.opname == "BINARY_SUBSCR" or after.argrepr == "[]")
        for step, after in pairwise(steps)
    ) or any(_looks_up(inner, key) for inner in code.co_consts if isinstance(inner, CodeType))


_CLOSURES = frozenset({"LOAD_DEREF", "LOAD_CLOSURE", "MAKE_CELL"})


def _any(*marks: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(names.split()) for names in marks)


STYLES = (
    Style(
        name="native",
        signature="f(problem, text)",
        marks=_any("problem text"),
        arguments=arguments.native,
    ),
    Style(
        name="verl",
        signature="compute_score(data_source, solution_str, ground_truth, extra_info)",
        marks=_any("solution_str", "predict_str ground_truth", "model_output ground_truth"),
        arguments=arguments.verl,
    ),
    Style(
        name="verl-batch",
        signature="compute_score_batch(data_sources, solution_strs, ground_truths, extra_infos)",
        marks=_any("solution_strs"),
        arguments=arguments.verl_batch,
        batched=True,
    ),
    Style(
        name="OpenRLHF",
        signature="reward_func(queries, prompts, labels)",
        marks=_any("queries prompts", "queries labels"),
        arguments=arguments.openrlhf,
        batched=True,
    ),
    Style(
        name="AReaL",
        signature="f(prompt, completions, prompt_ids, completion_ids, **columns)",
        marks=_any(
            "prompt completions",
            "prompt_ids completion_ids",
            "prompt_str completion_str",
            "result answer",
        ),
        arguments=arguments.areal,
        takes_columns=True,
    ),
    Style(
        name="slime",
        signature="f(args, sample)",
        marks=_any("args sample"),
        arguments=arguments.slime,
    ),
    Style(
        name="verifiers",
        signature="f(prompt, completion, answer, state, info, task, parser, **columns)",
        marks=_any("completion"),
        arguments=arguments.verifiers,
        takes_columns=True,
        unknown=TOKENS | {"parser"},
    ),
    Style(
        name="verifiers-group",
        signature="f(prompts, completions, answers, states, infos, tasks)",
        marks=_any("states", "completions infos", "completions answers"),
        arguments=arguments.verifiers_group,
        batched=True,
        unknown=TOKENS | {"parser"},
    ),
    Style(
        name="TRL-chat",
        signature="f(prompts, completions, **columns), completions as chats",
        marks=_any("completions"),
        reads="content",
        arguments=arguments.trl_chat,
        batched=True,
        takes_columns=True,
        logs=True,
        unknown=TOKENS | {"trainer_state", "environments"},
    ),
    Style(
        name="TRL",
        signature="f(prompts, completions, **columns)",
        marks=_any("completions", "completion_ids"),
        arguments=arguments.trl,
        batched=True,
        takes_columns=True,
        logs=True,
        unknown=TOKENS | {"trainer_state", "environments"},
    ),
)
