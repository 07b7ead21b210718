import asyncio
import json

import pytest

from rlvr.checkpoint import MANIFEST, CheckpointError, Checkpoints, open_checkpoint
from tests.conftest import graded


class Files:
    """A learner whose weights are one line of text."""

    def __init__(self, text: str = "w") -> None:
        self.text = text

    async def save(self, directory):
        with open(f"{directory}/rank0.bin", "w") as file:
            file.write(self.text)

    async def export_hf(self, directory):
        with open(f"{directory}/model.safetensors", "w") as file:
            file.write(self.text)


def save(checkpoints, step, learner=None, **state):
    learner = learner or Files()
    return asyncio.run(checkpoints.save(learner, step, {"step": step, **state}, {"recipe": "r"}))


def test_what_was_saved_comes_back(tmp_path):
    checkpoints = Checkpoints(root=tmp_path)
    save(checkpoints, 3, ready=[graded(1, 0)])
    found = checkpoints.latest()
    assert (found.step, found.about) == (3, {"recipe": "r"})
    assert found.loop_state() == {"step": 3, "ready": [graded(1, 0)]}
    assert (tmp_path / "latest").read_text() == "step-000003"


def test_only_the_newest_are_kept(tmp_path):
    checkpoints = Checkpoints(root=tmp_path, keep=2)
    for step in (1, 2, 3):
        save(checkpoints, step)
    assert sorted(p.name for p in tmp_path.glob("step-*")) == ["step-000002", "step-000003"]


def test_latest_is_the_one_that_was_saved_last_also_after_a_run_began_anew(tmp_path):
    checkpoints = Checkpoints(root=tmp_path)
    save(checkpoints, 9)
    save(checkpoints, 2)
    assert checkpoints.latest().step == 2


def test_a_save_that_dies_halfway_leaves_the_one_before_it(tmp_path):
    class Dies(Files):
        async def export_hf(self, directory):
            raise RuntimeError("killed")

    checkpoints = Checkpoints(root=tmp_path)
    save(checkpoints, 1)
    with pytest.raises(RuntimeError, match="killed"):
        save(checkpoints, 2, Dies())
    assert checkpoints.latest().step == 1
    assert (tmp_path / "latest").read_text() == "step-000001"


@pytest.mark.parametrize("file", ["learner/rank0.bin", "hf/model.safetensors", "loop.pkl"])
def test_an_altered_file_is_named_and_an_older_checkpoint_is_taken(tmp_path, file):
    checkpoints = Checkpoints(root=tmp_path)
    save(checkpoints, 1)
    newest = save(checkpoints, 2)
    (newest.path / file).write_bytes(b"x")
    with pytest.raises(CheckpointError, match=file):
        open_checkpoint(newest.path)
    assert checkpoints.latest().step == 1


def test_a_run_without_any_usable_checkpoint_says_so_rather_than_start_anew(tmp_path):
    checkpoints = Checkpoints(root=tmp_path)
    only = save(checkpoints, 1)
    (only.path / "loop.pkl").unlink()
    with pytest.raises(CheckpointError, match=r"loop\.pkl is missing"):
        checkpoints.latest()


def test_no_checkpoint_is_none(tmp_path):
    assert Checkpoints(root=tmp_path / "absent").latest() is None


def test_the_manifest_lists_every_file(tmp_path):
    saved = save(Checkpoints(root=tmp_path), 1)
    listed = set(json.loads((saved.path / MANIFEST).read_text())["files"])
    there = {str(p.relative_to(saved.path)) for p in saved.path.rglob("*") if p.is_file()}
    assert listed == there - {MANIFEST}
