import io
from typing import Any

import pytest

from rlvr.sinks.console import HEADER_EVERY, Console

STEP = {
    "critic/score/mean": 0.3125,
    "difficulty/pass_rate": 0.44,
    "difficulty/kept": 30.0,
    "difficulty/dropped": 7.0,
    "difficulty/too_easy": 5.0,
    "difficulty/too_hard": 2.0,
    "difficulty/resting": 9.0,
    "actor/ppo_kl": 1.2e-4,
    "timing_s/step": 60.0,
}


class Screen(io.StringIO):
    """A terminal, as far as rich asks."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def colours(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


def test_a_log_file_gets_one_plain_line_per_step_and_a_header_now_and_then():
    stream = io.StringIO()
    console = Console(steps=100, stream=stream)
    for step in range(1, HEADER_EVERY + 2):
        console.log(step, STEP)
    console.close()
    lines = stream.getvalue().splitlines()
    assert len(lines) == HEADER_EVERY + 3
    assert lines[0].split()[:3] == ["step", "reward", "pass"]
    assert lines[1].split() == [
        *("1/100", "0.312", "44.0", "30/7", "-", "-", "60.0", "1.2e-04"),
        *("-", "-", "-", "1h39m", "left"),
    ]
    assert lines[HEADER_EVERY + 1] == lines[0]
    assert "\x1b" not in stream.getvalue()


def test_columns_stand_under_their_heads():
    stream = io.StringIO()
    Console(steps=9, stream=stream).log(1, STEP)
    header, line = stream.getvalue().splitlines()
    assert header.index("reward") + len("reward") == line.index("0.312") + len("0.312")


def test_an_evaluation_has_a_line_of_its_own_and_no_row():
    stream = io.StringIO()
    console = Console(stream=stream)
    scores = {"val-core/all/acc/greedy": 0.625, "val-core/gsm8k/acc/greedy": 0.5}
    console.log(0, {**scores, "timing_s/testing": 3.0})
    assert stream.getvalue() == "held-out at step 0: greedy 62.5%\n"


def test_a_phase_is_announced_at_its_start_and_end_only():
    stream = io.StringIO()
    console = Console(stream=stream)
    for done in range(6):
        console.progress("evaluation", done, 5)
    assert stream.getvalue() == "evaluation: 0/5\nevaluation: 5/5\n"


@pytest.mark.usefixtures("colours")
def test_a_terminal_keeps_the_last_rows_of_a_live_table():
    screen = Screen()
    console = Console(run_name="grpo_tiny", steps=50, rows=3, stream=screen)
    console.progress("start", 1, 3)
    for step in range(1, 6):
        console.log(step, STEP)
    before_the_end = len(screen.getvalue())
    console.close()
    last: Any = screen.getvalue()[before_the_end:]
    assert "start 1/3" in screen.getvalue()
    assert [f"{step}/50" in last for step in range(1, 6)] == [False, False, True, True, True]
    assert "45m00s left" in last


@pytest.mark.usefixtures("colours")
def test_a_narrow_terminal_shows_fewer_columns_and_cuts_none_in_half(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("COLUMNS", "40")
    screen = Screen()
    console = Console(steps=50, stream=screen)
    console.log(1, STEP)
    console.close()
    assert "kept/drop" in screen.getvalue()
    assert "ppo_kl" not in screen.getvalue() and "\u2026" not in screen.getvalue()
