"""The references of a run's problems, checked by its own reward before anything heavy starts.

    data -> kept from an earlier start, or checked now -> refuse, or data without the rejected

A reference that its own verifier does not accept makes every answer wrong, and teaches that.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.progress import Progress

from rlvr import plugin
from rlvr.assembly import Data
from rlvr.config import ConfigError, RunConfig
from rlvr.problems.stream import Without
from rlvr.rewards.auditing.check import GoldCheck, Rejected, check_references, reference_jails
from rlvr.rewards.porting import ported
from rlvr.rewards.serving.jail import JailError
from rlvr.types import Outcome, Problem

TRAINING, HELD_OUT = "training", "held out"
JUDGES = ("math-verify", "latex2sympy2-extended", "sympy")
"""Packages on whose versions verdicts rest."""

UNCHECKED = (
    "not checked: the reward does not say how a right answer looks (a method example(problem)); "
    "python -m rlvr.rewards.test tries a function out"
)

_PASSING = (Outcome.TIMEOUT, Outcome.ERROR)
"""Outcomes that may be others another day, so a check with one of them is not remembered."""
_SHOWN = 10
_LINE_EVERY = 10.0
"""Seconds between lines of progress where there is no terminal."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What the check of one set of problems came to."""

    name: str
    check: GoldCheck

    def __str__(self) -> str:
        check = self.check
        asked = check.checked - check.unasked
        if check.unasked and not asked:
            return f"{self.name}: not checked: {check.unasked:,}, without an example"
        text = f"{len(check.rejected):,} of {asked:,} references rejected"
        if check.unasked:
            text += f" (not checked: {check.unasked:,}, without an example)"
        if not check.is_complete:
            text += f" in a random sample of the {check.total:,}, for want of time"
        return f"{self.name}: {text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gold:
    """A run's data without the problems whose reference its own reward does not accept."""

    data: Data
    sets: tuple[Checked, ...]
    """Empty where nothing could be or was to be checked."""
    note: str
    """One line for the console."""

    def write(self, run_dir: Path) -> None:
        """List the problems that were left out in ``rejected.jsonl``; no file where none was."""
        rows = [
            json.dumps({"set": one.name, **described(rejected)}, ensure_ascii=False) + "\n"
            for one in self.sets
            for rejected in one.check.rejected
        ]
        if rows:
            (run_dir / "rejected.jsonl").write_text("".join(rows), errors="backslashreplace")


def described(rejected: Rejected) -> dict[str, str]:
    """A rejected problem as a row for people and for programs."""
    return {
        "id": rejected.problem_id,
        "source": rejected.source,
        "reference": rejected.answer,
        "outcome": str(rejected.outcome),
        "reason": rejected.reason,
    }


def check_data(run: RunConfig, data: Data) -> Gold:
    """The data that a run may train on and be measured on.

    Raises:
        ConfigError: too many references are rejected, or the reward cannot be loaded.
    """
    if run.gold_check.policy == "off":
        return Gold(data=data, sets=(), note="not checked (gold_check.policy=off)")
    both = {TRAINING: data.problems.all(), HELD_OUT: data.held_out}
    sets = check_sets(run, both) if data.reward.exemplified else ()
    if not sets:
        return Gold(data=data, sets=(), note=UNCHECKED)
    for checked in sets:
        _refuse(run, checked)
    ids = {name: _rejected_ids(sets, name) for name in (TRAINING, HELD_OUT)}
    note = "; ".join(str(one) for one in sets)
    if any(ids.values()):
        note += ": left out, listed in rejected.jsonl"
    try:
        problems = Without(data.problems, ids[TRAINING]) if ids[TRAINING] else data.problems
    except ValueError as error:
        raise ConfigError(f"gold_check: {error}") from error
    held_out = [problem for problem in data.held_out if problem.id not in ids[HELD_OUT]]
    return Gold(data=replace(data, problems=problems, held_out=held_out), sets=sets, note=note)


def check_sets(run: RunConfig, sets: Mapping[str, Sequence[Problem]]) -> tuple[Checked, ...]:
    """Every set's references, graded now or remembered, by a reward that has ``example``.

    Raises:
        ConfigError: the reward cannot be loaded.
    """
    files = {name: _file(run, problems) for name, problems in sets.items() if problems}
    checks = {name: _read(file, run.gold_check.limit_seconds) for name, file in files.items()}
    unknown = {name: sets[name] for name, check in checks.items() if check is None}
    for name, check in _check(run, unknown).items() if unknown else ():
        checks[name] = check
        _keep(check, files[name])
    return tuple(Checked(name=name, check=check) for name, check in checks.items() if check)


def fingerprint(spec: object, problems: Iterable[Problem]) -> str:
    """SHA-256 over all that verdicts on references rest on: the problems, the reward and its code.

    The code itself and not its stated version, which a change in the making has not raised yet.
    """
    digest = hashlib.sha256(json.dumps([spec, *map(_version, JUDGES)], default=repr).encode())
    for file in _sources(spec):
        digest.update(file.read_bytes())
    for problem in problems:
        row = (problem.id, problem.prompt, problem.answer, problem.source, problem.extra)
        digest.update(repr(row).encode(errors="surrogatepass"))
    return digest.hexdigest()


def _check(run: RunConfig, sets: Mapping[str, Sequence[Problem]]) -> dict[str, GoldCheck]:
    settings, service = run.gold_check, run.reward_service
    checks: dict[str, GoldCheck] = {}
    try:
        with reference_jails(
            run.reward,
            processes=settings.processes or len(os.sched_getaffinity(0)),
            seconds=service.seconds,
            memory_gb=service.memory_gb,
        ) as jails:
            for name, problems in sets.items():
                with progress_line(f"checking references, {name}") as progress:
                    checks[name] = check_references(
                        jails, problems, limit_seconds=settings.limit_seconds, progress=progress
                    )
    except JailError as error:
        raise ConfigError(f"reward: {error}") from error
    return checks


@contextmanager
def progress_line(title: str) -> Generator[Callable[[int, int], None], None, None]:
    """A bar on a terminal that goes when it is done; elsewhere a line now and then."""
    console = Console()
    if not console.is_terminal:
        last = time.monotonic()

        def line(done: int, total: int) -> None:
            nonlocal last
            if time.monotonic() - last >= _LINE_EVERY:
                last = time.monotonic()
                console.print(f"{title}: {done:,} of {total:,}")

        yield line
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _refuse(run: RunConfig, checked: Checked) -> None:
    """Raises:
    ConfigError: more references are rejected than the settings allow.
    """
    check, settings = checked.check, run.gold_check
    allowed = 0.0 if settings.policy == "refuse" else settings.max_rejected
    if check.rate <= allowed:
        return
    bound = (
        "gold_check.policy=refuse allows none"
        if settings.policy == "refuse"
        else f"gold_check.max_rejected={allowed:g} allows fewer"
    )
    shown = [f"  {rejected}" for rejected in check.rejected[:_SHOWN]]
    if len(check.rejected) > _SHOWN:
        shown.append(f"  and {len(check.rejected) - _SHOWN:,} more")
    raise ConfigError(
        "\n".join(
            [
                f"gold_check: {checked} by the run's own reward ({check.rate:.1%}), and {bound}:",
                *shown,
                "No answer to them can be right. Correct them or choose a reward that reads such "
                f"answers (python -m rlvr.problems.check recipe={run.recipe_name} lists all), or "
                "set gold_check.policy=drop with a higher gold_check.max_rejected",
            ]
        )
    )


def _rejected_ids(sets: Iterable[Checked], name: str) -> frozenset[str]:
    return frozenset(r.problem_id for one in sets if one.name == name for r in one.check.rejected)


def _file(run: RunConfig, problems: Sequence[Problem]) -> Path | None:
    """Where the check of these problems is remembered."""
    if run.gold_check.cache is None:
        return None
    key = fingerprint([run.reward, run.reward_service.seconds], problems)
    return Path(run.gold_check.cache).expanduser() / "gold" / f"{key}.json"


def _read(file: Path | None, limit_seconds: float) -> GoldCheck | None:
    """An earlier check; None where none can be read, or where there is more time now."""
    try:
        row: dict[str, Any] = json.loads(file.read_text()) if file else {}
        rows = cast(list[dict[str, Any]], row.pop("rejected"))
        for one in rows:
            one["outcome"] = Outcome(one["outcome"])
        check = GoldCheck(**row, rejected=tuple(Rejected(**one) for one in rows))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return check if check.is_complete or check.seconds >= limit_seconds else None


def _keep(check: GoldCheck, file: Path | None) -> None:
    if file is None or any(rejected.outcome in _PASSING for rejected in check.rejected):
        return
    try:
        _write(file, check)
    except OSError as error:
        log.warning("the check of references is not kept for the next start: %s", error)


def _write(file: Path, check: GoldCheck) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=".", suffix=".json")
    try:
        with open(descriptor, "w") as out:
            json.dump(asdict(check), out)
        os.replace(name, file)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _sources(spec: object) -> list[Path]:
    """The files of the package of rewards, and the file of each plug-in in ``spec``."""
    files = set(Path(ported.__file__).parents[1].rglob("*.py"))
    files |= {Path(place) for target in _targets(spec) if (place := plugin.file_of(target))}
    return sorted(files)


def _targets(spec: object) -> Iterable[str]:
    if isinstance(spec, Mapping):
        node = cast(Mapping[str, object], spec)
        if isinstance(target := node.get("_target_"), str):
            yield target
        for value in node.values():
            yield from _targets(value)
    elif isinstance(spec, list):
        for item in cast(list[object], spec):
            yield from _targets(item)
