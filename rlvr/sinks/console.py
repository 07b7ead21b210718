"""The run on the terminal: a live table for people, one plain line per step for log files."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import TextIO

from rich.console import Console as Terminal
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

HEADER_EVERY = 20
OVERALL = "val-core/all/acc/"

_REFRESH_SECONDS = 0.1

Metrics = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its head, its width in a plain line, and the text of one step's cell."""

    head: str
    width: int
    cell: Callable[[Metrics], str]


def _number(key: str, form: str, scale: float = 1) -> Callable[[Metrics], str]:
    def cell(metrics: Metrics) -> str:
        return format(scale * metrics[key], form) if key in metrics else "-"

    return cell


def _kept_and_dropped(metrics: Metrics) -> str:
    kept = metrics.get("difficulty/kept", 0) + metrics.get("difficulty/relaxed", 0)
    return f"{kept:.0f}/{metrics.get('difficulty/dropped', 0):.0f}"


COLUMNS = (
    Column("reward", 7, _number("critic/score/mean", ".3f")),
    Column("pass %", 6, _number("difficulty/pass_rate", ".1f", 100)),
    Column("kept/drop", 9, _kept_and_dropped),
    Column("length", 6, _number("response_length/mean", ".0f")),
    Column("tok/s", 7, _number("perf/throughput", ".0f")),
    Column("s/step", 6, _number("timing_s/step", ".1f")),
    Column("ppo_kl", 8, _number("actor/ppo_kl", ".1e")),
    Column("entropy", 7, _number("actor/entropy", ".3f")),
    Column("grad", 6, _number("actor/grad_norm", ".3g")),
    Column("lag", 4, _number("loop/lag_mean", ".1f")),
)
"""The most telling first: a terminal shows as many of them as it is wide."""


class Console:
    """Shows the last ``rows`` steps as they come, how long the rest takes, and every evaluation.

    Args:
        steps: of the whole run, for the estimate of what is left; 0 if unknown.
        rows: steps that stay visible in the table.
        stream: where to write; standard output by default. Not a terminal: plain lines.
    """

    def __init__(
        self,
        run_dir: str = "",
        run_name: str = "",
        steps: int = 0,
        rows: int = 12,
        stream: TextIO | None = None,
    ) -> None:
        self._title = run_name
        self._steps = steps
        self._stream = stream or sys.stdout
        self._rows: deque[tuple[int, Metrics]] = deque(maxlen=max(rows, 1))
        self._seconds: deque[float] = deque(maxlen=20)
        self._lines = 0
        self._phase = ("", 0, 0)
        self._refreshed = 0.0
        self._live: Live | None = None
        self._terminal = Terminal(file=self._stream)
        if self._terminal.is_terminal:
            self._live = Live(console=self._terminal, auto_refresh=False)
            self._live.start()

    def log(self, step: int, metrics: Metrics) -> None:
        """Show one step; metrics of held-out problems get a line of their own."""
        trained = {k: v for k, v in metrics.items() if not k.startswith(("val-", "timing_s/test"))}
        if trained:
            self._rows.append((step, trained))
            if "timing_s/step" in trained:
                self._seconds.append(trained["timing_s/step"])
        if self._live is None and trained:
            self._write(self._line(step, trained))
        for line in _evaluation(step, metrics):
            self._say(line)
        self._refresh(force=True)

    def progress(self, phase: str, done: int, total: int) -> None:
        """Show how far a phase outside the steps is, such as start-up or evaluation."""
        began = phase != self._phase[0]
        self._phase = ("", 0, 0) if done >= total else (phase, done, total)
        if self._live is None and (began or done >= total):
            self._write(f"{phase}: {done}/{total}")
        self._refresh(force=began or done >= total)

    def resume(self, step: int) -> None:
        """Forget what was shown of ``step`` and later: it comes again."""
        kept = [row for row in self._rows if row[0] < step]
        self._rows.clear()
        self._rows.extend(kept)

    def close(self) -> None:
        """Leave the last table standing."""
        if self._live is not None:
            self._phase = ("", 0, 0)
            self._refresh(force=True)
            self._live.stop()
            self._live = None

    def _refresh(self, *, force: bool) -> None:
        now = time.monotonic()
        if self._live is not None and (force or now - self._refreshed > _REFRESH_SECONDS):
            self._refreshed = now
            self._live.update(Group(*self._picture()), refresh=True)

    def _picture(self) -> list[Table | Text | ProgressBar]:
        cells = [["step", *(column.head for column in COLUMNS)]]
        for step, metrics in self._rows:
            cells.append([self._place(step), *(column.cell(metrics) for column in COLUMNS)])
        widths = [max(map(len, column)) + 1 for column in zip(*cells, strict=True)]
        fitting = sum(end <= self._terminal.width for end in accumulate(widths))
        table = Table(
            title=self._title or None, title_justify="left", box=None, padding=(0, 1, 0, 0)
        )
        for head in cells[0][:fitting]:
            table.add_column(head, justify="right", no_wrap=True)
        for row in cells[1:]:
            table.add_row(*row[:fitting])
        picture: list[Table | Text | ProgressBar] = [table] if self._rows else []
        if left := self._left():
            picture.append(Text(left, style="dim"))
        phase, done, total = self._phase
        if phase:
            picture.append(Text(f"{phase} {done}/{total}"))
            picture.append(ProgressBar(total=max(total, 1), completed=done, width=40))
        return picture

    def _line(self, step: int, metrics: Metrics) -> str:
        width = max(len(self._place(self._steps)), 4)
        cells = [self._place(step).rjust(width)]
        cells += [column.cell(metrics).rjust(column.width) for column in COLUMNS]
        line = "  ".join([*cells, self._left()]).rstrip()
        if self._lines % HEADER_EVERY == 0:
            heads = ["step".rjust(width), *(c.head.rjust(c.width) for c in COLUMNS)]
            line = "  ".join(heads) + "\n" + line
        self._lines += 1
        return line

    def _place(self, step: int) -> str:
        return f"{step}/{self._steps}" if self._steps else str(step)

    def _left(self) -> str:
        """How long the rest of the run takes at the pace of the last steps."""
        if not self._seconds or not self._rows or self._rows[-1][0] >= self._steps:
            return ""
        each = sum(self._seconds) / len(self._seconds)
        return f"{_duration(each * (self._steps - self._rows[-1][0]))} left"

    def _say(self, line: str) -> None:
        if self._live is None:
            self._write(line)
        else:
            self._terminal.print(line, markup=False, highlight=False)

    def _write(self, line: str) -> None:
        # Not through rich, which would wrap the line at 80 characters.
        print(line, file=self._stream, flush=True)


def _evaluation(step: int, metrics: Metrics) -> list[str]:
    """One line for all sources together; each source's own figures go to the other sinks."""
    scores = {k: value for k, value in metrics.items() if k.startswith(OVERALL)}
    shown = (f"{key.removeprefix(OVERALL)} {value:.1%}" for key, value in scores.items())
    return [f"held-out at step {step}: {'  '.join(shown)}"] if scores else []


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"
