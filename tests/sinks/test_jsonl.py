import json
import math
from pathlib import Path
from typing import Any

from rlvr.sinks.jsonl import Jsonl


def lines(run_dir: Path) -> list[dict[str, Any]]:
    text = (run_dir / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_every_step_is_on_disk_when_log_returns(tmp_path: Path):
    sink = Jsonl(run_dir=str(tmp_path), run_name="x")
    sink.log(1, {"a/b": 0.5})
    assert lines(tmp_path) == [{"step": 1, "a/b": 0.5}]
    sink.close()


def test_what_is_not_finite_is_null(tmp_path: Path):
    sink = Jsonl(run_dir=str(tmp_path))
    sink.log(1, {"nan": math.nan, "inf": math.inf, "fine": 1.0})
    sink.close()
    assert lines(tmp_path) == [{"step": 1, "nan": None, "inf": None, "fine": 1.0}]


def test_resuming_removes_the_steps_that_come_again_and_a_torn_line(tmp_path: Path):
    sink = Jsonl(run_dir=str(tmp_path))
    for step in range(1, 5):
        sink.log(step, {"x": float(step)})
    sink.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "x":')
    again = Jsonl(run_dir=str(tmp_path))
    again.resume(3)
    again.log(3, {"x": 30.0})
    again.close()
    assert [(line["step"], line["x"]) for line in lines(tmp_path)] == [(1, 1), (2, 2), (3, 30)]
