"""What a trial of a reward found, in tables and in plain sentences."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rlvr.rewards.porting.results import CORRECT_FROM
from rlvr.rewards.trials.trial import Difference, Judgement, Plan, Trial
from rlvr.types import Outcome

_SHOWN = 8
_CELL = 60
"""Characters of a text that are shown."""
_LEAK_MB = 4.0
"""Growth of resident memory over the second half of the calls that is called a leak."""
_LEAK_FILES = 3
_SLOW_SHARE = 0.5
"""Of the time limit: a verdict that takes more may miss it on a busy machine."""
_SLOW_LOAD_SECONDS = 30.0


def show(console: Console, trial: Trial, plan: Plan, layout: str, dropped: Sequence[str]) -> None:
    """The tables."""
    console.print(_reward(trial, layout, dropped))
    console.print(_verdicts(trial))
    console.print(_examples(trial))
    console.print(_checks(trial, plan))


def show_judgement(console: Console, findings: Sequence[str], notes: Sequence[str]) -> None:
    """The last word."""
    for line in notes:
        console.print(f"Note: {escape(line)}")
    if not findings:
        console.print("[bold green]Nothing found.[/] It can be trained on.")
        return
    console.print(f"[bold red]{len(findings)} found.[/] Look at these before a run:")
    for number, line in enumerate(findings, start=1):
        console.print(f"  {number}. {escape(line)}")


def findings(trial: Trial, plan: Plan) -> list[str]:
    """What is wrong with the reward, one sentence each; empty where nothing was found."""
    return [
        *_no_verdicts(trial),
        *_misjudged(trial.judgements),
        *_apart(trial),
        *_held(trial),
        *_slow(trial, plan),
    ]


def notes(trial: Trial) -> list[str]:
    """What may be meant so, and may be not."""
    given = [one for one in trial.judgements if one.kind == "given"]
    said: list[str] = []
    if given and not any(one.verdict.outcome is Outcome.CORRECT for one in given):
        said.append(
            f"none of the {len(given)} responses is correct to it; pass rates and the difficulty "
            f"filter count a reward of {CORRECT_FROM:g} or more, or what it itself calls correct"
        )
    silent = [one for one in trial.judgements if one.verdict.outcome is Outcome.ABSTAIN]
    if silent:
        said.append(
            f"it abstains on {len(silent)} of {len(trial.judgements)} texts, such as "
            f"{_place(silent[0])}; these train nothing"
        )
    return said


def _no_verdicts(trial: Trial) -> Iterator[str]:
    for outcome, what in (
        (Outcome.TIMEOUT, "got no verdict in time"),
        (Outcome.ERROR, "made it fail"),
        (Outcome.GOLD_UNPARSED, "have a reference that it can't read"),
    ):
        some = [one for one in trial.judgements if one.verdict.outcome is outcome]
        if some:
            yield (
                f"{len(some)} of {len(trial.judgements)} texts {what}, such as {_place(some[0])}: "
                f"{some[0].verdict.detail or 'no detail'}"
            )
    if trial.died:
        yield f"its process died {trial.died} times while it graded"
    if trial.untried:
        yield f"{trial.untried} texts were left untried after so many timeouts"


def _misjudged(judgements: Sequence[Judgement]) -> Iterator[str]:
    right = [one for one in judgements if one.kind.startswith("right/")]
    accepted: dict[str, bool] = {}
    for one in right:
        is_correct = one.verdict.outcome is Outcome.CORRECT
        accepted[one.problem.id] = accepted.get(one.problem.id, False) or is_correct
    refused = [one for one in right if not accepted[one.problem.id]]
    if refused:
        count = sum(not ok for ok in accepted.values())
        best = max(refused, key=lambda one: one.verdict.reward or 0.0)
        yield (
            f"the reference itself is not correct on {count} of {len(accepted)} rows under any "
            f"mark, such as {_place(best)} ({best.problem.answer!r:.40}: {_said(best)}). A run "
            f"learns nothing from such rows; correct is a reward of {CORRECT_FROM:g} or more, or "
            "what the function itself calls correct"
        )
    for kind, what in (("wrong/", "a wrong answer"), ("hard/", "a text without an answer")):
        fooled = [
            one
            for one in judgements
            if one.kind.startswith(kind) and one.verdict.outcome is Outcome.CORRECT
        ]
        if fooled:
            yield f"{what} is correct to it {len(fooled)} times, such as {_place(fooled[0])}"


def _apart(trial: Trial) -> Iterator[str]:
    for difference, what in (
        (trial.again, "a second time in the same process"),
        (trial.forks, "in two processes at once, one of them from the end"),
        (trial.hash_seed, "in a fresh process with another PYTHONHASHSEED"),
    ):
        if difference.differing:
            yield f"{_count(difference)} {what} ({difference.example})"
    if isinstance(trial.threads, str):
        yield f"threads gave no verdicts ({trial.threads})"
    elif trial.threads.differing:
        yield (
            f"{_count(trial.threads)} from several threads at once ({trial.threads.example}). "
            "Runs here give each process one thread; other trainers do not"
        )


def _held(trial: Trial) -> Iterator[str]:
    if isinstance(trial.held, str):
        yield f"what it holds after many calls is not known ({trial.held})"
        return
    megabytes, files, threads = _growth(trial)
    if megabytes > _LEAK_MB:
        yield f"its process grew by {megabytes:.0f} MiB over the last {trial.calls // 2} calls"
    if files > _LEAK_FILES:
        yield f"it left {files} more files open over the last {trial.calls // 2} calls"
    if threads > _LEAK_FILES:
        yield f"it left {threads} more threads running over the last {trial.calls // 2} calls"


def _slow(trial: Trial, plan: Plan) -> Iterator[str]:
    graded = [one for one in trial.judgements if one.verdict.outcome is not Outcome.TIMEOUT]
    slowest = max(graded, key=lambda one: one.seconds, default=None)
    if slowest is not None and slowest.seconds > _SLOW_SHARE * plan.seconds:
        yield f"{_place(slowest)} took {slowest.seconds:.1f} s of the {plan.seconds:g} s it may"
    if trial.load_seconds > _SLOW_LOAD_SECONDS:
        yield f"it took {trial.load_seconds:.0f} s to load, as it does whenever a worker starts"


def _reward(trial: Trial, layout: str, dropped: Sequence[str]) -> Table:
    table = Table(title="reward", show_header=False, title_justify="left")
    about = trial.about
    rows = len({one.problem.id for one in trial.judgements})
    table.add_row("name", escape(about.name))
    table.add_row("style", about.style + (", whole groups per call" if about.batched else ""))
    table.add_row("rows", f"{rows} tried, {len(dropped)} unusable")
    table.add_row("layout", escape(layout))
    for line in dropped[:3]:
        table.add_row("unusable", escape(line))
    table.add_row("loading", f"{trial.load_seconds:.2f} s, once per worker")
    table.add_row("latency", _latency(trial.judgements))
    return table


def _latency(judgements: Sequence[Judgement]) -> str:
    ordered = sorted(one.seconds for one in judgements)
    if not ordered:
        return "nothing was graded"
    places = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    last = len(ordered) - 1
    shown = (f"{name} {1000 * ordered[round(q * last)]:.1f} ms" for name, q in places.items())
    return f"{', '.join(shown)} over {len(ordered)} texts"


def _verdicts(trial: Trial) -> Table:
    outcomes = [o for o in Outcome if any(one.verdict.outcome is o for one in trial.judgements)]
    table = Table(title="verdicts", title_justify="left")
    table.add_column("texts")
    for outcome in outcomes:
        table.add_column(str(outcome), justify="right")
    table.add_column("mean reward", justify="right")
    by_kind: dict[str, list[Judgement]] = defaultdict(list)
    for one in trial.judgements:
        by_kind[one.kind].append(one)
    for kind, some in by_kind.items():
        counts = Counter(one.verdict.outcome for one in some)
        rewards = [one.verdict.reward for one in some if one.verdict.reward is not None]
        mean = f"{sum(rewards) / len(rewards):.3g}" if rewards else "-"
        table.add_row(kind, *(str(counts[outcome] or "") for outcome in outcomes), mean)
    return table


def _examples(trial: Trial) -> Table:
    table = Table(title="examples", title_justify="left")
    for column in ("row", "texts", "text", "verdict"):
        table.add_column(column, overflow="fold")
    kinds: set[tuple[str, Outcome]] = set()
    for one in trial.judgements:
        sort = (one.kind.partition("/")[0], one.verdict.outcome)
        if sort not in kinds and len(kinds) < _SHOWN:
            kinds.add(sort)
            table.add_row(*map(escape, (one.problem.id, one.kind, _cut(one.text), _said(one))))
    return table


def _checks(trial: Trial, plan: Plan) -> Table:
    table = Table(title="checks", title_justify="left")
    for column in ("check", "seen", ""):
        table.add_column(column, overflow="fold")
    compared = {
        "same verdict twice": trial.again,
        "same from two forks at once": trial.forks,
        "same with another hash seed": trial.hash_seed,
        f"same from {plan.threads} threads at once": trial.threads,
    }
    for name, difference in compared.items():
        if isinstance(difference, str):
            table.add_row(name, escape(difference), _mark(fine=False))
        else:
            same = difference.of - difference.differing
            seen = f"{same} of {difference.of}"
            table.add_row(name, seen, _mark(fine=not difference.differing))
    table.add_row("leaks", escape(_leaks(trial)), _mark(fine=not list(_held(trial))))
    return table


def _leaks(trial: Trial) -> str:
    if isinstance(trial.held, str):
        return trial.held
    (first, *_), (last, files, threads) = trial.held[0], trial.held[-1]
    return (
        f"{first:.0f} MiB after {trial.calls // 10} calls, {last:.0f} after {trial.calls}; "
        f"{files} files, {threads} threads"
    )


def _growth(trial: Trial) -> tuple[float, int, int]:
    """Over the second half of the calls: the first fills caches and loads what is lazy."""
    assert not isinstance(trial.held, str)
    middle, last = trial.held[len(trial.held) // 2 - 1], trial.held[-1]
    return last[0] - middle[0], last[1] - middle[1], last[2] - middle[2]


def _mark(*, fine: bool) -> str:
    return "[green]ok[/]" if fine else "[red]found[/]"


def _count(difference: Difference) -> str:
    return f"{difference.differing} of {difference.of} verdicts differ"


def _place(one: Judgement) -> str:
    return f"{one.problem.id} {one.kind}"


def _said(one: Judgement) -> str:
    verdict = one.verdict
    said = [str(verdict.outcome)]
    said += [f"{verdict.reward:g}"] if verdict.reward is not None else []
    said += [f"read {verdict.extracted!r:.40}"] if verdict.extracted is not None else []
    said += [verdict.detail[:120]] if verdict.detail else []
    return ", ".join(said)


def _cut(text: str) -> str:
    shown = ascii(text)[1:-1] if not text.isprintable() else text
    return shown if len(shown) <= _CELL else f"{shown[: _CELL // 2]}...{shown[-_CELL // 2 :]}"
