import json
import struct
from types import SimpleNamespace

import pytest

from rlvr import preflight
from rlvr.config import (
    CheckpointConfig,
    ClusterConfig,
    ConfigError,
    LearnerConfig,
    RolloutConfig,
    RunConfig,
)
from rlvr.preflight import GIB, available_memory, check_resources, parameters


@pytest.fixture
def model(tmp_path):
    """One billion parameters, of which only the header is there."""
    header = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "BF16", "shape": [1000, 999_999], "data_offsets": [0, 0]},
        "b": {"dtype": "BF16", "shape": [1000], "data_offsets": [0, 0]},
    }
    text = json.dumps(header).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    return str(tmp_path)


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Sets what there is, in GiB."""

    def has(memory=1000, disk=1000, shared=1000):
        def usage(path):
            return SimpleNamespace(free=(shared if str(path) == "/dev/shm" else disk) * GIB)

        monkeypatch.setattr(
            "psutil.virtual_memory", lambda: SimpleNamespace(available=memory * GIB)
        )
        monkeypatch.setattr("shutil.disk_usage", usage)
        monkeypatch.setattr(preflight, "CGROUP", tmp_path / "no cgroup")

    has()
    return has


def run(tmp_path, **changes):
    return RunConfig(run_dir=str(tmp_path / "not" / "yet"), **changes)


def test_parameters_are_counted_from_the_headers(model, tmp_path):
    assert parameters(tmp_path) == 10**9


def test_a_large_machine_is_not_refused(model, machine, tmp_path):
    check_resources(run(tmp_path), model)


def test_too_little_disk_is_refused_with_what_it_is_for(model, machine, tmp_path):
    # Three checkpoints of 14 bytes for each of 1e9 parameters and 1 GiB of logs: 40.1 GiB.
    machine(disk=41)
    check_resources(run(tmp_path, checkpoint=CheckpointConfig(keep=2)), model)
    machine(disk=40)
    with pytest.raises(ConfigError, match=r"keep=2: 3 checkpoints of 13\.04 GiB.*40\.00 GiB free"):
        check_resources(run(tmp_path, checkpoint=CheckpointConfig(keep=2)), model)
    check_resources(run(tmp_path, checkpoint=CheckpointConfig(keep=1)), model)


def test_too_little_memory_is_refused_with_each_parts_share(model, machine, tmp_path):
    # Engine 1 + 1.86, learner 1 + 16.76, graders 0.38, a copy on its way 1.86: 22.86 GiB.
    machine(memory=23)
    check_resources(run(tmp_path), model)
    machine(memory=22)
    with pytest.raises(ConfigError) as caught:
        check_resources(run(tmp_path), model)
    message = str(caught.value)
    assert "rollout.workers=1: 2.86 GiB, learner.workers=1: 17.76 GiB" in message
    assert "22.86 GiB of memory at least, and 22.00 GiB are available" in message


@pytest.mark.parametrize(
    ("learner", "needs"),
    [
        (LearnerConfig(workers=2, zero_stage=0), 2 * 18),
        (LearnerConfig(workers=2, zero_stage=1), 2 * 6 + 12),
        (LearnerConfig(workers=2, zero_stage=2), 2 * 2 + 16),
        (LearnerConfig(workers=2, zero_stage=3), 18),
        (LearnerConfig(workers=2, zero_stage=0, dtype="float32"), 2 * 16),
    ],
)
def test_zero_splits_what_its_stage_says(learner, needs):
    taken = preflight._learner_bytes(learner, 10**9)
    assert taken == 2 * GIB + needs * 10**9


def test_on_a_gpu_the_weights_are_not_in_main_memory(model, machine, tmp_path):
    machine(memory=9)
    on_gpus = run(tmp_path, rollout=RolloutConfig(gpus=1), learner=LearnerConfig(gpus=1))
    check_resources(on_gpus, model)


def test_too_little_shared_memory_is_refused_with_dockers_remedy(model, machine, tmp_path):
    machine(shared=0.06)
    with pytest.raises(ConfigError, match=r"0\.06 GiB are free\. In Docker start with --shm-size"):
        check_resources(run(tmp_path), model)


def test_where_the_cluster_runs_elsewhere_only_the_disk_is_checked(model, machine, tmp_path):
    joined = run(tmp_path, cluster=ClusterConfig(address="10.0.0.1:6379"))
    machine(memory=0, shared=0)
    check_resources(joined, model)
    machine(disk=0)
    with pytest.raises(ConfigError, match="run_dir"):
        check_resources(joined, model)


def test_a_containers_limit_counts_where_it_is_lower(machine, monkeypatch, tmp_path):
    (tmp_path / "memory.max").write_text(f"{8 * GIB}\n")
    (tmp_path / "memory.current").write_text(f"{5 * GIB}\n")
    (tmp_path / "memory.stat").write_text(f"anon {3 * GIB}\ninactive_file {2 * GIB}\n")
    monkeypatch.setattr(preflight, "CGROUP", tmp_path)
    assert available_memory() == 5 * GIB
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory() == 1000 * GIB
