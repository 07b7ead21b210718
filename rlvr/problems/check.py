"""Looks a run's problems over: ``python -m rlvr.problems.check recipe=grpo_qwen1.5b [--json]``.

Grades every reference as if a model had given it, in processes that can be killed, and lists what
the recipe's own reward does not accept; counts per source; duplicates, also between the training
and the held-out set; prompts that are empty or too long.

Exit codes: 0 clean; 1 some references are rejected; 2 the recipe or its data cannot be used.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rlvr import recipes
from rlvr.assembly import about_reward
from rlvr.config import ConfigError, RunConfig
from rlvr.config_checks import built
from rlvr.gold import HELD_OUT, TRAINING, UNCHECKED, Checked, check_sets, described
from rlvr.model_directory import is_local, resolve_model
from rlvr.problems.base import ProblemStream
from rlvr.rewards.auditing.check import GoldCheck
from rlvr.rollout.prompt import OverlongPrompt, PromptRenderer
from rlvr.types import Problem

_LISTED = 100
"""Rejected references that are shown one by one."""
_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What is seen of one set of problems."""

    name: str
    sources: Mapping[str, int]
    gold: GoldCheck | None
    """None where the reward does not say how a right answer looks."""
    empty: tuple[str, ...]
    """Ids of problems whose prompt has no text."""
    overlong: tuple[str, ...] | None
    """Ids of problems whose prompt has too many tokens; None where no tokenizer was at hand."""
    duplicates: tuple[tuple[str, str], ...]
    """Id of each problem whose prompt came before, and of the first that had it."""


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    try:
        run = recipes.load([word for word in words if word != "--json"], model=False)
        looks = look(run)
    except ConfigError as error:
        print(f"rlvr: {error}", file=sys.stderr)
        return 2
    if "--json" in words:
        print(json.dumps([as_json(one) for one in looks], indent=1))
    else:
        _show(looks)
    return int(any(one.gold and one.gold.rejected for one in looks))


def look(run: RunConfig) -> list[Look]:
    """Everything that can be told of a run's problems before it starts.

    Raises:
        ConfigError: the problems cannot be read, or the reward cannot be loaded.
    """
    sets = _sets(run)
    checks = check_sets(run, sets) if about_reward(run).exemplified else ()
    checked = {one.name: one.check for one in checks}
    render = _renderer(run)
    first: dict[object, str] = {}
    return [
        Look(
            name=name,
            sources=Counter(problem.source for problem in problems),
            gold=checked.get(name),
            empty=tuple(problem.id for problem in problems if not _has_text(problem)),
            overlong=None if render is None else tuple(_overlong(render, problems)),
            duplicates=tuple(_duplicates(problems, first)),
        )
        for name, problems in sets.items()
    ]


def as_json(one: Look) -> dict[str, Any]:
    """A look as one object for programs."""
    gold = one.gold
    return {
        "set": one.name,
        "problems": sum(one.sources.values()),
        "sources": dict(one.sources),
        "checked": gold.checked - gold.unasked if gold else 0,
        "not_checked": gold.unasked if gold else sum(one.sources.values()),
        "rejected": [described(rejected) for rejected in gold.rejected] if gold else [],
        "empty_prompts": list(one.empty),
        "overlong_prompts": None if one.overlong is None else list(one.overlong),
        "duplicates": [{"id": later, "first": first} for later, first in one.duplicates],
    }


def _sets(run: RunConfig) -> dict[str, Sequence[Problem]]:
    training: ProblemStream = built("problems", run.problems)
    sets = {TRAINING: training.all()}
    if run.evaluation.problems is not None:
        stream: ProblemStream = built("evaluation.problems", run.evaluation.problems)
        sets[HELD_OUT] = stream.all()[: run.evaluation.limit]
    return sets


def _renderer(run: RunConfig) -> PromptRenderer | None:
    """Counts prompt tokens, where the model's directory is here: a check downloads no model."""
    if not is_local(run.model):
        return None
    try:
        return PromptRenderer(
            resolve_model(run.model),
            system_prompt=run.system_prompt,
            max_prompt_tokens=run.sampling.max_prompt_tokens,
        )
    except (OSError, ValueError):
        return None


def _overlong(render: PromptRenderer, problems: Sequence[Problem]) -> Iterator[str]:
    for problem in problems:
        try:
            render(problem)
        except OverlongPrompt:
            yield problem.id
        except ValueError as error:
            if _has_text(problem):
                raise ConfigError(str(error)) from error


def _has_text(problem: Problem) -> bool:
    prompt = problem.prompt
    texts = [prompt] if isinstance(prompt, str) else [message.content for message in prompt]
    return any(text.strip() for text in texts)


def _duplicates(problems: Sequence[Problem], first: dict[object, str]) -> Iterator[tuple[str, str]]:
    """Problems whose prompt came before, in this set or in one before it."""
    for problem in problems:
        before = first.setdefault(problem.prompt, problem.id)
        if before != problem.id:
            yield problem.id, before


def _show(looks: Sequence[Look]) -> None:
    console = Console()
    table = Table(
        "set", "source", "problems", "rejected", "empty", "too long", "duplicates",
        box=None, pad_edge=False,
    )  # fmt: skip
    for one in looks:
        rejected = Counter(r.source for r in one.gold.rejected) if one.gold else None
        for source, count in sorted(one.sources.items()):
            shown = "-" if rejected is None else f"{rejected[source]:,}"
            table.add_row(one.name, escape(source), f"{count:,}", shown)
        overlong = "-" if one.overlong is None else f"{len(one.overlong):,}"
        total = "-" if one.gold is None else f"{len(one.gold.rejected):,}"
        table.add_row(
            one.name, "all", f"{sum(one.sources.values()):,}", total, f"{len(one.empty):,}",
            overlong, f"{len(one.duplicates):,}", end_section=True,
        )  # fmt: skip
    console.print(table)
    for one in looks:
        for line in _lines(one):
            console.print(line, markup=False, highlight=False, soft_wrap=True)


def _lines(one: Look) -> Iterator[str]:
    """What the table does not say of a set."""
    if one.gold is None:
        yield f"{one.name}: {UNCHECKED}"
    else:
        yield f"{Checked(name=one.name, check=one.gold)} ({one.gold.seconds:.1f} s)"
        yield from (f"  {rejected}" for rejected in one.gold.rejected[:_LISTED])
        if (more := len(one.gold.rejected) - _LISTED) > 0:
            yield f"  and {more:,} more; --json lists all"
    if one.overlong is None:
        yield f"{one.name}: prompts not measured, for the model's tokenizer is not on this machine"
    elif one.overlong:
        yield f"{one.name}: prompts too long: {_listed(one.overlong)}"
    if one.empty:
        yield f"{one.name}: prompts without text: {_listed(one.empty)}"
    if one.duplicates:
        pairs = [f"{later} of {first}" for later, first in one.duplicates]
        yield f"{one.name}: repeated prompts: {_listed(pairs)}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else "")


if __name__ == "__main__":
    sys.exit(main())
