"""Measures a verifier on golden suites: ``python -m rlvr.rewards.audit [--suite FILE] [--json]``.

False negatives are right answers that it does not accept, for whatever reason; false positives are
others that it does. Plain math-verify is given the same rows beside it. Everything runs in
processes that can be killed.

Exit codes: 0 within the bounds; 1 beyond; 2 a suite or the reward can't be used.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import yaml
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from rlvr.rewards.auditing.golden import Bounds, Graded, Score, score
from rlvr.rewards.auditing.measure import MATH, measure
from rlvr.rewards.auditing.suites import Case, SuiteError, read_suite
from rlvr.rewards.serving.jail import JailError

GOLDEN = Path(__file__).parents[2] / "tests" / "golden"
SUITES = ("equivalence", "responses", "math", "hostile")
PEER = {"_target_": "rlvr.rewards.mathverify.MathVerify"}

_SHOWN = 100
_WIDTH = 120
"""Characters of a line where there is no terminal."""


def main(argv: Sequence[str] | None = None) -> int:
    options = _arguments(argv)
    bounds = Bounds(
        agreement=options.min_agreement,
        false_negatives=options.max_false_negatives,
        false_positives=options.max_false_positives,
        seconds=options.max_seconds,
    )
    try:
        cases = [case for path in _suites(options.suite) for case in read_suite(path)]
        specs = {"ours" if options.reward is None else "reward": _spec(options.reward)}
        if not options.alone:
            specs["math-verify"] = PEER
        graded = {name: _watched(name, spec, cases, options) for name, spec in specs.items()}
    except (SuiteError, JailError) as error:
        print(f"rlvr: {error}", file=sys.stderr)
        return 2
    name, judged = next(iter(graded.items()))
    beyond = [
        f"{suite}: {line}"
        for suite, one in by_suite(judged)
        for line in bounds.broken_by(score(one))
    ]
    if options.json:
        rows = {n: as_json(g, bounds.seconds) for n, g in graded.items()}
        print(json.dumps({"beyond": beyond, **rows}, indent=1))
    else:
        _show(graded, name, beyond, bounds.seconds)
    return int(bool(beyond))


def by_suite(graded: Sequence[Graded]) -> list[tuple[str, list[Graded]]]:
    """The cases of each suite, in order of appearance."""
    suites: defaultdict[str, list[Graded]] = defaultdict(list)
    for one in graded:
        suites[one.case.suite].append(one)
    return list(suites.items())


def by_kind(graded: Sequence[Graded]) -> dict[tuple[str, str], list[Graded]]:
    """The cases of each suite and kind, and under the kind ``all`` those of the whole suite."""
    kinds: defaultdict[tuple[str, str], list[Graded]] = defaultdict(list)
    for suite, cases in by_suite(graded):
        for one in cases:
            kinds[suite, one.case.kind].append(one)
        kinds[suite, "all"] = cases
    return dict(kinds)


def as_json(graded: Sequence[Graded], slow: float) -> dict[str, Any]:
    """The figures of every kind, and what was found of single rows."""
    return {
        "kinds": [
            {"suite": suite, "kind": kind, **_figures(score(cases))}
            for (suite, kind), cases in by_kind(graded).items()
        ],
        "findings": [_row(one, what) for one, what in _findings(graded, slow)],
    }


def _figures(one: Score) -> dict[str, float]:
    counts = {name: value for name, value in asdict(one).items() if name != "seconds"}
    return {
        **counts,
        "agreement": one.agreement,
        "false_negative_rate": one.false_negative_rate,
        "false_positive_rate": one.false_positive_rate,
        "p50_seconds": one.quantile(0.5),
        "p99_seconds": one.quantile(0.99),
        "max_seconds": one.seconds[-1],
    }


def _findings(graded: Sequence[Graded], slow: float) -> Iterator[tuple[Graded, str]]:
    """Every row that is not as the suite says, or took more than ``slow`` seconds."""
    for one in graded:
        if one.is_false_negative:
            yield one, "false negative"
        elif one.is_false_positive:
            yield one, "false positive"
        elif one.is_lopsided:
            yield one, "accepted in one direction only"
        elif one.is_misnamed:
            yield one, "another outcome"
        if one.seconds > slow:
            yield one, f"slow ({one.seconds:.1f} s)"


def _row(one: Graded, what: str) -> dict[str, str]:
    given = one.case.answer if one.case.answer is not None else one.case.text or ""
    return {
        "suite": one.case.suite,
        "kind": one.case.kind,
        "what": what,
        "gold": one.case.gold[:300],
        "given": given[:300],
        "should_be": " or ".join(sorted(one.case.outcomes)),
        "is": str(one.verdict.outcome),
        "detail": one.verdict.detail or f"read as {one.verdict.extracted!r}"[:300],
        "why": one.case.why,
    }


def _show(
    graded: Mapping[str, Sequence[Graded]], first: str, beyond: Sequence[str], slow: float
) -> None:
    console = Console()
    if not console.is_terminal:
        console.width = _WIDTH
    table = Table("suite", "kind", "rows", box=None, pad_edge=False)
    for name in graded:
        table.add_column(f"| {name}", justify="right")
        for head in ("FN", "FP", "none", "1-way"):
            table.add_column(head, justify="right")
    kinds = {name: by_kind(cases) for name, cases in graded.items()}
    for key, cases in kinds[first].items():
        cells = [cell for name in graded for cell in _cells(kinds[name].get(key))]
        style = "bold" if key[1] == "all" else None
        table.add_row(*key, f"{len(cases):,}", *cells, style=style, end_section=style is not None)
    console.print(table)
    console.print(_latencies(graded))
    shown = [_line(one, what) for one, what in _findings(graded[first], slow)]
    for line in (*shown[:_SHOWN], *([f"and {len(shown) - _SHOWN} more"] if shown[_SHOWN:] else ())):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for line in beyond:
        console.print(f"beyond its bound: {line}", markup=False, style="red", soft_wrap=True)


def _cells(cases: Sequence[Graded] | None) -> tuple[str, ...]:
    """Agreement, rates of false negatives and false positives, and how many verdicts have no
    reward or hold in one direction only."""
    if cases is None:
        return ("-",) * 5
    one = score(cases)
    return (
        f"{one.agreement:.1%}",
        f"{one.false_negative_rate:.1%}" if one.must_pass else "-",
        f"{one.false_positive_rate:.1%}" if one.must_fail else "-",
        f"{one.abstained}",
        f"{one.lopsided}",
    )


def _latencies(graded: Mapping[str, Sequence[Graded]]) -> Table:
    table = Table("one verdict, through the jail", "suite", "p50 ms", "p99 ms", "max ms", box=None)
    for name, cases in graded.items():
        for suite, some in by_suite(cases):
            one = score(some)
            times = (one.quantile(0.5), one.quantile(0.99), one.seconds[-1])
            table.add_row(name, suite, *(f"{1000 * seconds:,.1f}" for seconds in times))
    return table


def _line(one: Graded, what: str) -> str:
    row = _row(one, what)
    return (
        f"{what}: {row['suite']}/{row['kind']}: gold {row['gold']!r:.80}, given "
        f"{row['given']!r:.120}: {row['is']} ({row['detail']!r:.100}), for the suite "
        f"{row['should_be']}: {row['why']}"
    )


def _watched(
    name: str, spec: object, cases: Sequence[Case], options: argparse.Namespace
) -> list[Graded]:
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=len(cases))
        return measure(
            spec,
            cases,
            processes=options.processes,
            seconds=options.seconds,
            done=lambda: bar.advance(task),
        )


def _suites(given: Sequence[Path] | None) -> list[Path]:
    if given:
        return list(given)
    found = [path for name in SUITES if (path := GOLDEN / f"{name}.jsonl").is_file()]
    if not found:
        raise SuiteError(
            f"there is no suite in {GOLDEN}: they come with the repository and not with the "
            "installed package; run from a checkout, or give --suite FILE"
        )
    return found


def _spec(text: str | None) -> object:
    """A reward as on the command line of a run: a node, a class's path, or a file's function."""
    if text is None:
        return MATH
    if ".py:" in text and not text.lstrip().startswith("{"):
        return text
    node: object = yaml.safe_load(text)
    return cast(object, node) if isinstance(node, dict) else {"_target_": text}


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m rlvr.rewards.audit", description="Measures a verifier on golden suites."
    )
    parser.add_argument("--suite", type=Path, action="append", help="a .jsonl file; repeatable")
    parser.add_argument("--reward", help="node, package.Class or file.py:function; default math")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument(
        "--alone", action="store_true", help="without plain math-verify: seconds, not minutes"
    )
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, default=5.0, help="longest verdict; then killed")
    parser.add_argument("--min-agreement", type=float, default=0.95)
    parser.add_argument("--max-false-negatives", type=float, default=0.06)
    parser.add_argument("--max-false-positives", type=float, default=0.01)
    parser.add_argument("--max-seconds", type=float, default=1.0, help="of the slowest verdict")
    options = parser.parse_args(argv)
    if options.processes < 1 or options.seconds <= 0:
        parser.error("--processes must be at least 1 and --seconds more than 0")
    return options


if __name__ == "__main__":
    sys.exit(main())
