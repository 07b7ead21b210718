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
from rlvr.learner.losses.clipped import Clipped
from rlvr.learner.settings import (
    CriticSettings,
    LearnerSettings,
    LoraSettings,
    OptimizerSettings,
    ReferenceSettings,
)
from rlvr.preflight import (
    GIB,
    Models,
    adapter_parameters,
    available_memory,
    check_resources,
    checkpoint_bytes,
    learner_bytes,
    models_of,
    shapes,
)


def headers_of(directory, tensors):
    """A model of which only the header is there."""
    directory.mkdir(exist_ok=True)
    header = {"__metadata__": {"format": "pt"}} | {
        name: {"dtype": "BF16", "shape": shape, "data_offsets": [0, 0]}
        for name, shape in tensors.items()
    }
    text = json.dumps(header).encode()
    (directory / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    return str(directory)


@pytest.fixture
def model(tmp_path):
    """One billion parameters."""
    return headers_of(tmp_path, {"a": [1000, 999_999], "b": [1000]})


BLOCK = "model.layers.0."
SMALL = {
    "model.embed_tokens.weight": (1000, 100),
    f"{BLOCK}self_attn.q_proj.weight": (100, 100),
    f"{BLOCK}self_attn.q_proj.bias": (100,),
    f"{BLOCK}mlp.up_proj.weight": (300, 100),
    f"{BLOCK}norm.weight": (100,),
    "lm_head.weight": (1000, 100),
}
TRUNK, P = 140_200, 240_200
"""Its parameters without and with the head."""


@pytest.fixture
def small(tmp_path):
    return headers_of(tmp_path / "small", SMALL)


def settings(**changes):
    told = {"loss": Clipped(), "max_tokens": 8, "dtype": "bfloat16", "zero_stage": 2}
    return LearnerSettings(**told | changes)


def critic_of(model):
    return CriticSettings(model=model, optimizer=OptimizerSettings())


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


def test_parameters_are_counted_from_the_headers(model):
    assert shapes(model) == {"a": (1000, 999_999), "b": (1000,)}
    assert models_of(settings(), model) == Models(policy=10**9)


def test_a_critic_counts_by_the_trunk_of_its_own_model(model, small):
    assert models_of(settings(critic=critic_of(small)), model).critic == TRUNK
    assert models_of(settings(critic=critic_of(model)), small).critic == 10**9


def test_adapters_have_rank_numbers_for_each_row_and_column_of_their_layers():
    # q_proj has 100 of both, up_proj 300 and 100; neither embedding nor head is in a layer.
    cases = {
        "all-linear": 3 * (200 + 400),
        ("q_proj",): 3 * 200,
        ("self_attn.q_proj", "up_proj"): 3 * 600,
        r".*layers\.0\..*_proj": 3 * 600,
        r".*layers\.1\..*": 0,
    }
    for targets, counted in cases.items():
        assert adapter_parameters(SMALL, LoraSettings(rank=3, targets=targets)) == counted


@pytest.mark.parametrize(
    ("reference", "lora", "own"),
    [
        (None, None, 0),
        ({}, None, P),
        ({"ema_decay": 0.9}, None, P),
        ({}, LoraSettings(rank=3), 0),
        ({"model": "other"}, LoraSettings(rank=3), 10**9),
        (None, LoraSettings(rank=3), 0),
    ],
)
def test_a_reference_counts_unless_it_is_the_policy_without_adapters(
    model, small, reference, lora, own
):
    where = {"model": model if reference and "model" in reference else small}
    made = None if reference is None else ReferenceSettings(**reference | where)
    found = models_of(settings(reference=made, lora=lora), small)
    assert (found.policy, found.adapters) == (P, None if lora is None else 1800)
    assert found.reference == own
    assert found.reference_moves == bool(reference and "ema_decay" in reference)


@pytest.mark.parametrize(
    ("changes", "models", "bytes_"),
    [
        # Exported at 2 each; weights at 2, fp32 ones at 4 and two moments at 4 each.
        ({}, Models(policy=100), 100 * (2 + 2 + 12)),
        # At stage 3 the fp32 ones alone.
        ({"zero_stage": 3}, Models(policy=100), 100 * (2 + 12)),
        ({"dtype": "float32", "zero_stage": 0}, Models(policy=100), 100 * (4 + 4 + 8)),
        # ZeRO keeps fp32 copies of fp32 weights.
        ({"dtype": "float32", "zero_stage": 1}, Models(policy=100), 100 * (4 + 4 + 12)),
        # Frozen weights are in the export alone.
        ({}, Models(policy=100, adapters=10), 100 * 2 + 10 * (2 + 2 + 12)),
        ({}, Models(policy=100, critic=50), 100 * 16 + 50 * 14),
        ({}, Models(policy=100, reference=80), 100 * 16),
        ({}, Models(policy=100, reference=80, reference_moves=True), 100 * 16 + 80 * 4),
    ],
)
def test_a_checkpoint_has_what_trains_what_moves_and_the_policy(changes, models, bytes_):
    assert checkpoint_bytes(settings(**changes), models) == bytes_


def test_a_large_machine_is_not_refused(model, machine, tmp_path):
    check_resources(run(tmp_path), model, settings())


def test_adapters_on_a_large_model_do_not_ask_for_a_checkpoint_of_all_of_it(
    model, machine, tmp_path
):
    # Two checkpoints: 2 x 2e9 exported and 1 GiB of logs are 4.73 GiB; the adapters are of nothing.
    machine(disk=5)
    once = run(tmp_path, checkpoint=CheckpointConfig(keep=1))
    check_resources(once, model, settings(lora=LoraSettings(rank=8)))
    with pytest.raises(ConfigError, match=r"2 checkpoints of 14\.90 GiB"):
        check_resources(once, model, settings())


def test_too_little_disk_is_refused_with_what_it_is_for(model, machine, tmp_path):
    # Three checkpoints of 16 bytes for each of 1e9 parameters and 1 GiB of logs: 45.7 GiB.
    thrice, twice = (run(tmp_path, checkpoint=CheckpointConfig(keep=keep)) for keep in (2, 1))
    machine(disk=46)
    check_resources(thrice, model, settings())
    machine(disk=45)
    with pytest.raises(ConfigError, match=r"keep=2: 3 checkpoints of 14\.90 GiB.*45\.00 GiB free"):
        check_resources(thrice, model, settings())
    check_resources(twice, model, settings())


def test_too_little_memory_is_refused_with_each_parts_share(model, machine, tmp_path):
    # Engine 1 + 1.86, learner 1 + 16.76, graders 0.38, a copy on its way 1.86: 22.86 GiB.
    machine(memory=23)
    check_resources(run(tmp_path), model, settings())
    machine(memory=22)
    with pytest.raises(ConfigError) as caught:
        check_resources(run(tmp_path), model, settings())
    message = str(caught.value)
    assert "rollout.workers=1: 2.86 GiB, learner.workers=1: 17.76 GiB" in message
    assert "22.86 GiB of memory at least, and 22.00 GiB are available" in message


@pytest.mark.parametrize(
    ("changes", "each"),
    [
        ({"dtype": "float32", "zero_stage": 0}, 2 * (4 + 4 + 8)),
        ({"dtype": "float32", "zero_stage": 1}, 2 * (4 + 4) + 12),
        ({"zero_stage": 2}, 2 * 2 + 4 + 12),
        ({"zero_stage": 3}, 2 + 4 + 12),
    ],
)
def test_zero_splits_what_its_stage_says(changes, each):
    taken = learner_bytes(LearnerConfig(workers=2), settings(**changes), Models(policy=1000))
    assert taken == 2 * GIB + each * 1000


MOVING = Models(policy=100, reference=80, reference_moves=True)


@pytest.mark.parametrize(
    ("models", "zero_stage", "bytes_"),
    [
        # Frozen weights have neither gradients nor moments.
        (Models(policy=100, adapters=10), 2, 2 * (100 + 10) * 2 + 10 * 16),
        (Models(policy=100, critic=50), 2, 150 * (2 * 2 + 16)),
        (Models(policy=100, reference=80), 2, 100 * 20 + 2 * 80 * 2),
        # One that moves has fp32 copies.
        (MOVING, 2, 100 * 20 + 2 * 80 * (2 + 4)),
        (MOVING, 3, 100 * 18 + 80 * (2 + 4)),
    ],
)
def test_what_does_not_train_takes_memory_for_its_weights_alone(models, zero_stage, bytes_):
    taken = learner_bytes(LearnerConfig(workers=2), settings(zero_stage=zero_stage), models)
    assert taken == 2 * GIB + bytes_


def test_on_a_gpu_the_weights_are_not_in_main_memory(model, machine, tmp_path):
    machine(memory=9)
    on_gpus = run(tmp_path, rollout=RolloutConfig(gpus=1), learner=LearnerConfig(gpus=1))
    check_resources(on_gpus, model, settings())


@pytest.mark.parametrize(
    ("offload", "models", "bytes_"),
    [
        ("none", Models(policy=100), 0),
        ("optimizer", Models(policy=100), 100 * (4 + 12)),
        ("optimizer", Models(policy=100, adapters=10), 10 * (4 + 12)),
        ("all", Models(policy=100), 100 * (2 + 4 + 12)),
        ("all", MOVING, 100 * 18 + 80 * (2 + 4)),
    ],
)
def test_what_gpus_hand_over_is_in_main_memory_once(offload, models, bytes_):
    gpus = LearnerConfig(workers=4, gpus=1)
    taken = learner_bytes(gpus, settings(zero_stage=3, offload=offload), models)
    assert taken == 4 * 3 * GIB + bytes_


def test_too_little_shared_memory_is_refused_with_dockers_remedy(model, machine, tmp_path):
    machine(shared=0.06)
    with pytest.raises(ConfigError, match=r"0\.06 GiB are free\. In Docker start with --shm-size"):
        check_resources(run(tmp_path), model, settings())


def test_where_the_cluster_runs_elsewhere_only_the_disk_is_checked(model, machine, tmp_path):
    joined = run(tmp_path, cluster=ClusterConfig(address="10.0.0.1:6379"))
    machine(memory=0, shared=0)
    check_resources(joined, model, settings())
    machine(disk=0)
    with pytest.raises(ConfigError, match="run_dir"):
        check_resources(joined, model, settings())


def test_a_containers_limit_counts_where_it_is_lower(machine, monkeypatch, tmp_path):
    (tmp_path / "memory.max").write_text(f"{8 * GIB}\n")
    (tmp_path / "memory.current").write_text(f"{5 * GIB}\n")
    (tmp_path / "memory.stat").write_text(f"anon {3 * GIB}\ninactive_file {2 * GIB}\n")
    monkeypatch.setattr(preflight, "CGROUP", tmp_path)
    assert available_memory() == 5 * GIB
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory() == 1000 * GIB
