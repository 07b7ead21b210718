"""What a worker settles before an engine exists."""

import asyncio
import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from rlvr.rollout.environment import environment
from rlvr.rollout.worker import CPU_CACHE_BYTES, RolloutWorker, cpu_cache_bytes, stop_token_ids


def worker(model, **changes):
    settings = {
        "name": "rollout-0",
        "model": str(model),
        "channel": "rlvr.weights.shm",
        "dtype": "float32",
        "max_model_len": 128,
        "gpus": 0,
    }
    return RolloutWorker(**settings | changes)


def test_the_driver_imports_the_worker_without_vllm_or_torch():
    code = (
        "import sys, rlvr.rollout.worker, rlvr.rollout.pool\n"
        "print({'vllm', 'torch'} & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "set()"


def test_threads_are_the_cores_of_the_engine_and_never_none():
    assert environment(cpus=4, gpus=0)["OMP_NUM_THREADS"] == "4"
    assert environment(cpus=0.5, gpus=0)["OMP_NUM_THREADS"] == "1"


def test_a_gpu_engine_keeps_the_compiler_and_its_threads():
    environ = environment(cpus=4, gpus=1)
    assert "TORCHDYNAMO_DISABLE" not in environ
    assert "OMP_NUM_THREADS" not in environ


def test_every_end_of_text_that_model_or_tokenizer_know_stops_a_completion(tmp_path):
    tokenizer = SimpleNamespace(eos_token_id=7)
    assert stop_token_ids(tmp_path, tokenizer) == (7,)
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": 3}))
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [9, 3]}))
    assert stop_token_ids(tmp_path, tokenizer) == (3, 7, 9)
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": None}))
    assert stop_token_ids(tmp_path, SimpleNamespace(eos_token_id=None)) == (3, 9)


def test_the_cache_on_a_cpu_holds_what_is_needed_up_to_its_bound():
    config = {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "hidden_size": 128,
        "num_hidden_layers": 3,
    }
    # keys and values, 3 layers, 2 heads of 32, 4 bytes
    per_token = 2 * 3 * 2 * 32 * 4
    assert cpu_cache_bytes(config, tokens=1000, bytes_per_value=4) == per_token * 1256
    assert cpu_cache_bytes(config, tokens=10**9, bytes_per_value=4) == CPU_CACHE_BYTES


def test_a_call_before_start_says_so(tmp_path):
    with pytest.raises(RuntimeError, match=r"rollout-0: start\(\) comes before"):
        asyncio.run(worker(tmp_path).stats())


def test_a_directory_without_a_model_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        asyncio.run(worker(tmp_path).start())


def test_an_engine_over_several_devices_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tensor_parallel_size=2.*rollout\.workers"):
        asyncio.run(worker(tmp_path, engine={"tensor_parallel_size": 2}).start())
