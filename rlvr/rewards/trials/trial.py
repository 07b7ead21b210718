"""Tries a reward out, in processes that can be killed, on texts that are given or made.

    load -> grade all -> again -> by two forks at once, one from the end -> with another hash seed
         -> by threads at once -> over and over, watching what is held

What is compared is the outcome, the reward and what was read of the text.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, cast

from rlvr.rewards.porting.ported import About
from rlvr.rewards.serving.jail import Jail, Judged
from rlvr.rewards.serving.template import Template
from rlvr.rewards.trials import made, probe
from rlvr.rewards.trials.probe import Case, Seen, seen
from rlvr.types import Outcome, Problem, Verdict

_HARD_ROWS = 2
"""Problems whose texts that are hard to read are tried; those do not depend on the problem."""
_MOST_TIMEOUTS = 5
"""After that many no further text is tried: what is to be said of such a reward is known."""
_PROBED_CASES = 64
_PROBE_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Texts that are graded together, and what each is."""

    problem: Problem
    texts: tuple[str, ...]
    kinds: tuple[str, ...]
    """Such as ``right/box``, ``wrong/box``, ``hard/huge`` or ``given``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One text's verdict, and what it took."""

    problem: Problem
    text: str
    kind: str
    verdict: Verdict
    seconds: float
    """From dispatch to verdict; of a group that is judged at once, its share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How often verdicts differed from the first, and the first time that they did."""

    of: int
    differing: int
    example: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What was seen of a reward."""

    about: About
    load_seconds: float
    judgements: tuple[Judgement, ...]
    untried: int
    """Texts that were left out after too many timeouts."""
    died: int
    """Grading processes that ended by themselves."""
    again: Difference
    forks: Difference
    hash_seed: Difference
    threads: Difference | str
    """The reason, where threads gave no verdicts."""
    held: tuple[tuple[float, int, int], ...] | str
    """Resident MiB, open files and threads after each tenth of ``calls`` calls, or the reason why
    it is not known."""
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How hard a reward is tried."""

    seconds: float = 5.0
    """For one verdict."""
    memory_gb: float = 2.0
    calls: int = 200
    """Of the watch for leaks."""
    threads: int = 4


def groups(problems: Sequence[Problem], responses: Sequence[Sequence[str]]) -> list[Group]:
    """What is tried on each problem: its responses where there are some, or else made texts."""
    found: list[Group] = []
    for number, problem in enumerate(problems):
        given = tuple(responses[number]) if number < len(responses) else ()
        if given:
            kinds = ("given",) * len(given)
            found.append(Group(problem=problem, texts=given, kinds=kinds))
        elif not responses:
            texts = {f"right/{k}": text for k, text in made.right(problem.answer).items()}
            texts |= {f"wrong/{k}": text for k, text in made.wrong(problem.answer).items()}
            found.append(_group(problem, texts))
        if number < _HARD_ROWS:  # alone, as one that kills its process takes its group with it
            found += [_group(problem, {f"hard/{k}": text}) for k, text in made.hard().items()]
    return found


def try_out(spec: object, tried: Sequence[Group], plan: Plan, says: Callable[[str], None]) -> Trial:
    """Load the reward and grade everything in every way. ``says`` is told each step's name.

    Raises:
        JailError: the reward cannot be loaded, or its processes cannot be replaced.
    """
    with ExitStack() as stack:
        says("loading")
        began = time.monotonic()
        template = _template(stack, spec, plan)
        load_seconds = time.monotonic() - began
        jail = stack.enter_context(Jail(template, seconds=plan.seconds))
        says("grading")
        tried = _with_examples(jail, tried)
        judgements, steady = _first_pass(jail, tried)
        texts = sum(len(group.texts) for group in tried)
        untried = texts - len(judgements)
        lasting = [one for group in steady for one in group.judgements]
        died = jail.died
        tried = [group.group for group in steady]
        first = [seen(one.verdict) for one in lasting]
        says("grading again")
        again = _difference(first, _pass(jail, tried), lasting)
        says("grading in two forks at once")
        forks = _difference(first * 2, _in_forks(stack, template, tried, plan), lasting * 2)
        says("grading with another hash seed")
        other = _template(stack, spec, plan, {"PYTHONHASHSEED": "1"})
        fresh = stack.enter_context(Jail(other, seconds=plan.seconds))
        hash_seed = _difference(first, _pass(fresh, tried), lasting)
        says("grading in threads and over and over")
        threads, held = _probed(stack, spec, plan, steady)
        return Trial(
            about=template.about,
            load_seconds=load_seconds,
            judgements=tuple(judgements),
            untried=untried,
            died=died,
            again=again,
            forks=forks,
            hash_seed=hash_seed,
            threads=threads,
            held=held,
            calls=plan.calls,
        )


def _template(
    stack: ExitStack, spec: object, plan: Plan, environment: dict[str, str] | None = None
) -> Template:
    template = Template(spec, memory_gb=plan.memory_gb, environment=environment)
    stack.callback(template.close)
    return template


def _group(problem: Problem, texts: dict[str, str]) -> Group:
    return Group(problem=problem, texts=tuple(texts.values()), kinds=tuple(texts))


def _with_examples(jail: Jail, tried: Sequence[Group]) -> list[Group]:
    """With a right answer as the reward itself would write it, where it says how."""
    added: list[Group] = []
    for group in tried:
        own = None
        if group.kinds[0].startswith("right/"):
            own = jail.example(group.problem)
        if own is not None:
            group = Group(
                problem=group.problem,
                texts=(own, *group.texts),
                kinds=("right/its own", *group.kinds),
            )
        added.append(group)
    return added


@dataclass(frozen=True, slots=True, kw_only=True)
class _Steady:
    """A group of which no text overran: what it gets a second time says something."""

    group: Group
    judgements: tuple[Judgement, ...]


def _first_pass(jail: Jail, tried: Sequence[Group]) -> tuple[list[Judgement], list[_Steady]]:
    judgements: list[Judgement] = []
    steady: list[_Steady] = []
    for group in tried:
        if jail.killed >= _MOST_TIMEOUTS:
            break
        own = _judged(jail, group)
        judgements += own
        if all(one.verdict.outcome is not Outcome.TIMEOUT for one in own):
            steady.append(_Steady(group=group, judgements=tuple(own)))
    return judgements, steady


def _judged(jail: Jail, group: Group) -> list[Judgement]:
    found: list[tuple[Verdict, float]] = []
    for judged in jail.judge(group.problem, group.texts):
        found += _shares(judged)
    return [
        Judgement(problem=group.problem, text=text, kind=kind, verdict=verdict, seconds=seconds)
        for text, kind, (verdict, seconds) in zip(group.texts, group.kinds, found, strict=True)
    ]


def _shares(judged: Judged) -> list[tuple[Verdict, float]]:
    return [(verdict, judged.seconds / len(judged.verdicts)) for verdict in judged.verdicts]


def _pass(jail: Jail, tried: Sequence[Group]) -> list[Seen]:
    return [seen(v) for group in tried for v in jail.grade(group.problem, group.texts)]


def _in_forks(
    stack: ExitStack, template: Template, tried: Sequence[Group], plan: Plan
) -> list[Seen]:
    """Verdicts of one fork, and then of another that began at the end."""
    jails = [stack.enter_context(Jail(template, seconds=plan.seconds)) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        forward = pool.submit(_pass, jails[0], tried)
        backward = pool.submit(_pass, jails[1], list(reversed(tried)))
        turned = backward.result()
    ordered: list[Seen] = []
    for group in tried:
        ordered += turned[len(turned) - len(group.texts) :]
        del turned[len(turned) - len(group.texts) :]
    return forward.result() + ordered


def _difference(
    first: Sequence[Seen], other: Sequence[Seen], judgements: Sequence[Judgement]
) -> Difference:
    rows = list(zip(first, other, judgements, strict=True))
    apart = [(mine, its, one) for mine, its, one in rows if mine != its]
    example = ""
    if apart:
        mine, its, one = apart[0]
        example = f"{one.problem.id}, {one.kind}: {_shown(mine)}, then {_shown(its)}"
    return Difference(of=len(rows), differing=len(apart), example=example)


def _shown(one: Seen) -> str:
    outcome, reward, extracted = one
    read = "" if extracted is None else f" reading {extracted!r:.40}"
    return f"{outcome}{'' if reward is None else f' {reward:g}'}{read}"


def _probed(
    stack: ExitStack, spec: object, plan: Plan, steady: Sequence[_Steady]
) -> tuple[Difference | str, tuple[tuple[float, int, int], ...] | str]:
    """What threads get, and what is held after many calls, over texts that did no harm."""
    harmless = [
        one
        for one in steady
        if all(j.verdict.outcome.is_graded for j in one.judgements)
        and "hard/huge" not in one.group.kinds
    ][:_PROBED_CASES]
    cases: list[Case] = [(one.group.problem, one.group.texts) for one in harmless]
    sound = [judgement for one in harmless for judgement in one.judgements]
    if not cases:
        reason = "no text was graded without harm"
        return reason, reason
    template = _template(stack, probe.node(spec), plan)
    jail = stack.enter_context(Jail(template, seconds=_PROBE_SECONDS))
    threads = _asked(jail, probe.question("threads", cases, plan.threads))
    held = _asked(jail, probe.question("leaks", cases, plan.calls))
    return (
        threads if isinstance(threads, str) else _by_threads(threads, sound, plan.threads, cases),
        held if isinstance(held, str) else tuple((float(m), int(f), int(t)) for m, f, t in held),
    )


def _asked(jail: Jail, question: Problem) -> list[Any] | str:
    verdict = jail(question, "")
    if not verdict.outcome.is_graded:
        return f"{verdict.outcome}: {verdict.detail}"
    return cast(list[Any], json.loads(verdict.detail))


def _by_threads(
    found: list[list[list[Any]]], sound: Sequence[Judgement], threads: int, cases: Sequence[Case]
) -> Difference:
    first: list[Seen] = []
    other: list[Seen] = []
    judgements: list[Judgement] = []
    place = 0
    for number, (_, texts) in enumerate(cases):
        own = sound[place : place + len(texts)]
        place += len(texts)
        for verdicts in found[number * threads : (number + 1) * threads]:
            first += [seen(one.verdict) for one in own]
            other += [cast(Seen, tuple(verdict)) for verdict in verdicts]
            judgements += own
    return _difference(first, other, judgements)
