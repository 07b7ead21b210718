"""The reward service against the graders of other trainers, on the same responses in one run.

    python -m bench.rewards [--quick]

Prints three tables and writes bench/results/rewards.json. Peers live in .venv-trl, which
bench/requirements-graders.txt completes; one that is not installed is named and left out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.reward_pairs import Response, golden, questions
from bench.sabotaged import HANGS
from bench.train_cpu import TRL_PYTHON, commit, cpu_model
from rlvr.rewards.serving.worker import RewardWorker
from rlvr.types import Outcome, Problem, Verdict

HERE = Path(__file__).parent
ROOT = HERE.parent
MATH = {"_target_": "rlvr.rewards.math.Math"}
SABOTAGED = {"_target_": "bench.sabotaged.Sabotaged"}
OURS, PLAIN = "rlvr", "math-verify"
PEERS = ("TRL accuracy_reward", "verl math_verify", "OpenRLHF grade_answer")
EXPANDS = r"\boxed{(x+y+z)^{400}}"
"""Hangs math-verify in Python code, where its own timers reach it."""
DEADLINE = 1.0
"""Seconds for one verdict of the service where something hangs."""
WARM = 50
PACKAGES = ("math-verify", "sympy", "latex2sympy2-extended")


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """One grader over all ordinary responses, on one core."""

    name: str
    per_second: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    agreement: float
    """Share of the responses that it scores as they are made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """Right answers all at once, among texts that hang."""

    name: str
    asked: int
    right: int
    """Scored 1."""
    false_zeros: int
    """Scored 0."""
    without: int
    """Not scored within the limit."""
    seconds: float
    """To the last score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """One text that hangs, then a right answer, on one process."""

    name: str
    hang_seconds: float | None
    """Until the text that hangs was given up; None where it was not within the limit."""
    next_seconds: float | None
    """From then to the next right score."""


def speed_of(
    name: str, rows: Sequence[tuple[float | None, float]], rights: Sequence[bool]
) -> Speed:
    """From each response's score and seconds, in order.

    Raises:
        ValueError: there are not as many rows as responses.
    """
    if len(rows) != len(rights) or not rows:
        raise ValueError(
            f"{name}: {len(rows)} scores for {len(rights)} responses; need one for each"
        )
    seconds = sorted(took for _, took in rows)
    agreed = sum((score == 1.0) == right for (score, _), right in zip(rows, rights, strict=True))
    return Speed(
        name=name,
        per_second=len(rows) / sum(seconds),
        p50_ms=1000 * _quantile(seconds, 0.5),
        p99_ms=1000 * _quantile(seconds, 0.99),
        max_ms=1000 * seconds[-1],
        agreement=agreed / len(rows),
    )


def burst_of(name: str, scores: Iterable[float | None], *, asked: int, seconds: float) -> Burst:
    """From the scores of the right answers that came."""
    given = [score for score in scores if score is not None]
    right = sum(score == 1.0 for score in given)
    zeros = len(given) - right
    without = asked - len(given)
    return Burst(
        name=name, asked=asked, right=right, false_zeros=zeros, without=without, seconds=seconds
    )


async def service_speed(asked: Sequence[Sequence[Response]], processes: int) -> tuple[Speed, float]:
    """Single texts, as many at a time as processes; and verdicts a second in whole groups."""
    worker = RewardWorker(MATH, processes=processes)
    await worker.start()
    try:
        responses = [one for group in asked for one in group]
        await _one_by_one(worker, responses[:WARM], processes)
        rows = await _one_by_one(worker, responses, processes)
        speed = speed_of("rlvr service, text by text", rows, [one.right for one in responses])
        began = time.perf_counter()
        await asyncio.gather(
            *(worker.grade(_problem(g[0].gold), [one.text for one in g]) for g in asked)
        )
        return speed, len(responses) / (time.perf_counter() - began) / processes
    finally:
        worker.close()


async def service_burst(right: Sequence[Response], hostile: int, processes: int) -> Burst:
    """Everything is asked for at once; the deadline counts from dispatch."""
    worker = RewardWorker(SABOTAGED, processes=processes, seconds=DEADLINE)
    await worker.start()
    try:
        texts = mixed([(one.gold, one.text) for one in right], [("4", HANGS)] * hostile)
        began = time.perf_counter()
        answers = await asyncio.gather(*(worker.grade(_problem(g), [t]) for g, t in texts))
        seconds = time.perf_counter() - began
    finally:
        worker.close()
    verdicts = [a[0] for a, (_, text) in zip(answers, texts, strict=True) if text != HANGS]
    name = f"rlvr service, {processes} processes, {DEADLINE:g} s"
    return burst_of(name, [v.reward for v in verdicts], asked=len(right), seconds=seconds)


async def service_recovery(tries: int) -> Recovery:
    """The slowest of some tries."""
    worker = RewardWorker(SABOTAGED, processes=1, seconds=DEADLINE)
    await worker.start()
    hangs: list[float] = []
    nexts: list[float] = []
    try:
        for _ in range(tries):
            for texts, times, outcome in (
                ([HANGS], hangs, Outcome.TIMEOUT),
                ([r"\boxed{4}"], nexts, Outcome.CORRECT),
            ):
                began = time.perf_counter()
                verdicts: list[Verdict] = await worker.grade(_problem("4"), texts)
                times.append(time.perf_counter() - began)
                if verdicts[0].outcome is not outcome:
                    raise RuntimeError(f"{texts[0]} is {verdicts[0]}, not {outcome}")
    finally:
        worker.close()
    return Recovery(name="rlvr service", hang_seconds=max(hangs), next_seconds=max(nexts))


async def _one_by_one(
    worker: RewardWorker, responses: Sequence[Response], at_once: int
) -> list[tuple[float | None, float]]:
    rows: dict[int, tuple[float | None, float]] = {}
    waiting = iter(enumerate(responses))

    async def client() -> None:
        for place, one in waiting:
            began = time.perf_counter()
            (verdict,) = await worker.grade(_problem(one.gold), [one.text])
            rows[place] = (verdict.reward, time.perf_counter() - began)

    await asyncio.gather(*(client() for _ in range(at_once)))
    return [rows[place] for place in range(len(responses))]


def peer(grader: str, task: str, limit: float, **job: Any) -> list[dict[str, Any]] | str:
    """What a grader had told by the end or the limit, or why it tells nothing."""
    with tempfile.TemporaryDirectory(prefix="rlvr-bench-") as folder:
        out, file, log = (Path(folder, name) for name in ("out", "job.json", "log"))
        file.write_text(json.dumps({"grader": grader, "task": task, "out": str(out), **job}))
        own = grader in (OURS, PLAIN)
        python = sys.executable if own else str(TRL_PYTHON)
        if not Path(python).exists():
            return f"no {python}; see bench/README.md"
        with log.open("w") as output:
            child = subprocess.Popen(
                [python, str(HERE / "reward_peers.py"), str(file)],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT) if own else ""},
                start_new_session=True,
            )
            try:
                with suppress(subprocess.TimeoutExpired):
                    child.wait(limit)
            finally:
                _end(child)
        lines = out.read_text().splitlines() if out.exists() else []
        if not lines:
            tail = log.read_text(errors="replace").strip().splitlines()[-1:] or ["no verdict"]
            return tail[0][:200]
        return [json.loads(line) for line in lines if line.endswith("}")]


def _end(child: subprocess.Popen[bytes]) -> None:
    """The grader's whole session: processes of its own pool may hang."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait(10)


def mixed(right: Sequence[Any], hostile: Sequence[Any]) -> list[Any]:
    """Both, the hostile spread evenly over the first half, so that others queue behind them."""
    every = max(1, len(right) // 2 // max(1, len(hostile)))
    texts: list[Any] = list(right)
    for place, one in enumerate(hostile):
        texts.insert(place * (every + 1), one)
    return texts


def _problem(gold: str) -> Problem:
    return Problem(id="bench", prompt="", answer=gold)


def _quantile(ordered: Sequence[float], q: float) -> float:
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def speeds(
    asked: Sequence[Sequence[Response]], extra: Sequence[Response], limit: float
) -> tuple[list[Speed], dict[str, str]]:
    """Every grader that is installed over the same responses, in turn; and why others are not."""
    responses = [*(one for group in asked for one in group), *extra]
    pairs = [(one.gold, one.text) for one in responses]
    found: list[Speed] = []
    missing: dict[str, str] = {}
    for name in (OURS, PLAIN, *PEERS):
        rows = peer(name, "speed", limit, pairs=pairs, warm=WARM)
        if isinstance(rows, str):
            missing[name] = rows
            continue
        scores = [(row["score"], row["seconds"]) for row in rows]
        found.append(speed_of(name, scores, [one.right for one in responses][: len(scores)]))
        if len(scores) < len(responses):
            missing[f"{name} (all)"] = f"stopped after {limit:.0f} s and {len(scores)} responses"
    return found, missing


def peer_bursts(right: Sequence[Response], hostile: int, limit: float) -> list[Burst]:
    """verl's grader from a thread for each response, with its own pool and its own 30 s; and
    TRL's from eight threads, where its timers are off, with 10 s to a score."""
    pairs = mixed([(one.gold, one.text) for one in right], [("4", EXPANDS)] * hostile)
    found: list[Burst] = []
    for grader, threads, seconds in (
        ("verl math_verify", len(pairs), None),
        ("TRL accuracy_reward", 8, 10.0),
    ):
        rows = peer(grader, "burst", limit, pairs=pairs, threads=threads, seconds=seconds)
        if isinstance(rows, str):
            continue
        scores = [row["score"] for row in rows if pairs[row["place"]][1] != EXPANDS]
        last = rows[-1]["seconds"] if len(rows) == len(pairs) else limit
        found.append(burst_of(grader, scores, asked=len(right), seconds=last))
    return found


def peer_recoveries(limit: float) -> list[Recovery]:
    """One process or thread each; in the main thread, where math-verify's timers work."""
    right = ("4", r"\boxed{4}")
    found: list[Recovery] = []
    for grader in (PLAIN, *PEERS[:2]):
        rows = peer(grader, "recovery", limit, pairs=[right, ("4", EXPANDS), right])
        if isinstance(rows, str):
            continue
        times = [row["seconds"] for row in rows]
        hang, following = (times[place] if len(times) > place else None for place in (1, 2))
        found.append(Recovery(name=grader, hang_seconds=hang, next_seconds=following))
    return found


def tables(
    found: Sequence[Speed], per_core: float, bursts: Sequence[Burst], recoveries: Sequence[Recovery]
) -> list[Table]:
    plain = next((one.per_second for one in found if one.name == PLAIN), None)
    speed = Table(
        "one core", "verdicts/s", "x math-verify", "p50 ms", "p99 ms", "max ms", "as made"
    )
    for one in found:
        speed.add_row(
            one.name,
            f"{one.per_second:,.0f}",
            f"{one.per_second / plain:.1f}" if plain else "-",
            *(f"{ms:,.2f}" for ms in (one.p50_ms, one.p99_ms, one.max_ms)),
            f"{one.agreement:.1%}",
        )
    ratio = f"{per_core / plain:.1f}" if plain else "-"
    speed.add_row("rlvr service, groups of 8, per core", f"{per_core:,.0f}", ratio)
    burst = Table(
        "right answers at once", "asked", "scored 1", "false zeros", "no score", "seconds"
    )
    for one in bursts:
        counts = (one.asked, one.right, one.false_zeros, one.without)
        burst.add_row(one.name, *(f"{count:,}" for count in counts), f"{one.seconds:.1f}")
    recovery = Table("after one that hangs", "given up after s", "next right score after s")
    for one in recoveries:
        times = (one.hang_seconds, one.next_seconds)
        recovery.add_row(one.name, *("never" if t is None else f"{t:.2f}" for t in times))
    return [speed, burst, recovery]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="graders side by side")
    parser.add_argument("--quick", action="store_true", help="a tenth of it, to try things out")
    parser.add_argument("--questions", type=int, help="each with eight responses; default 400")
    parser.add_argument("--right", type=int, help="right answers in the burst; default 1000")
    parser.add_argument("--hostile", type=int, help="texts that hang in the burst; default 40")
    parser.add_argument("--limit-seconds", type=float, help="longest run of one grader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--date", default=datetime.now(UTC).isoformat(timespec="seconds"))
    parser.add_argument("--out", type=Path, default=HERE / "results" / "rewards.json")
    options = parser.parse_args()
    full = {"questions": 400, "right": 1000, "hostile": 40, "limit_seconds": 300.0}
    quick = {"questions": 40, "right": 100, "hostile": 8, "limit_seconds": 60.0}
    for name, value in (quick if options.quick else full).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def main() -> None:
    options = arguments()
    console = Console()
    if not console.is_terminal:
        console.width = 120
    processes = len(os.sched_getaffinity(0))
    asked = questions(options.questions, options.seed)
    extra = golden(ROOT / "tests" / "golden")
    right = [
        one for group in questions(options.right, options.seed + 1) for one in group if one.right
    ]
    right = right[: options.right]
    load = os.getloadavg()[0]
    found, missing = speeds(
        asked, extra[: None if not options.quick else 100], options.limit_seconds
    )
    service, per_core = asyncio.run(service_speed(asked, processes))
    bursts = [asyncio.run(service_burst(right, options.hostile, max(4, processes)))]
    bursts += peer_bursts(right, options.hostile, options.limit_seconds)
    recoveries = [asyncio.run(service_recovery(5)), *peer_recoveries(options.limit_seconds / 5)]
    for table in tables([*found, service], per_core, bursts, recoveries):
        console.print(table)
    for name, why in missing.items():
        console.print(f"not measured: {name}: {why}", markup=False)
    result = {
        "date": options.date,
        "commit": commit(),
        "cpu": cpu_model(),
        "cores": processes,
        "load_before": load,
        "versions": {package: version(package) for package in PACKAGES},
        "requirements": (HERE / "requirements-graders.txt").read_text().splitlines(),
        "responses": sum(map(len, asked)) + len(extra),
        "speed": [asdict(one) for one in [*found, service]],
        "service_groups_per_second_per_core": per_core,
        "burst": [asdict(one) for one in bursts],
        "recovery": [asdict(one) for one in recoveries],
        "not_measured": missing,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    console.print(f"written: {options.out}")


if __name__ == "__main__":
    main()
