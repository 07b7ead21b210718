import math
from pathlib import Path
from typing import Any, cast

from tensorboardX.proto import event_pb2

from rlvr.sinks.tensorboard import TensorBoard


def events(run_dir: Path) -> list[Any]:
    """Read the record files: length (8), checksum (4), the event, checksum (4)."""
    found: list[Any] = []
    for file in sorted((run_dir / "tensorboard").glob("events*")):
        data = file.read_bytes()
        while data:
            size = int.from_bytes(data[:8], "little")
            found.append(cast(Any, event_pb2).Event.FromString(data[12 : 12 + size]))
            data = data[16 + size :]
    return found


def scalars(run_dir: Path) -> set[tuple[int, str, float]]:
    return {
        (event.step, value.tag, value.simple_value)
        for event in events(run_dir)
        for value in event.summary.value
    }


def test_scalars_are_written_by_step_and_what_is_not_finite_is_left_out(tmp_path: Path):
    sink = TensorBoard(run_dir=str(tmp_path), run_name="x")
    sink.log(1, {"actor/ppo_kl": 0.5, "bad": math.nan})
    sink.log(2, {"actor/ppo_kl": 0.25})
    sink.close()
    assert scalars(tmp_path) == {(1, "actor/ppo_kl", 0.5), (2, "actor/ppo_kl", 0.25)}


def test_a_resumed_run_purges_the_steps_that_come_again(tmp_path: Path):
    sink = TensorBoard(run_dir=str(tmp_path))
    sink.resume(7)
    sink.log(7, {"x": 1.0})
    sink.close()
    session_starts = [event.step for event in events(tmp_path) if event.session_log.status == 1]
    assert session_starts == [7]
