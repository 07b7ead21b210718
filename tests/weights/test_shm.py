"""The shared-memory channel: what arrives is what was sent, or an error that names the tensor."""

import os
import pickle
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr.types import WeightVersion
from rlvr.weights.base import WeightProofError
from rlvr.weights.shm import FIRST_BYTES, Receiver, Sender

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int8, torch.bool]


@pytest.fixture
def sender():
    sender = Sender(checksum_bytes=2**30)
    yield sender
    sender.close()


def version(number: int) -> WeightVersion:
    return WeightVersion(number)


def sent(sender, tensors, number=1):
    manifest = sender.send(tensors.items(), version=version(number), probe=None)
    assert manifest is not None
    return manifest


def corrupt(manifest, name):
    entry = next(entry for entry in manifest.tensors if entry.name == name)
    descriptor = manifest.address["descriptor"]
    byte = os.pread(descriptor, 1, entry.offset)[0]
    os.pwrite(descriptor, bytes([byte ^ 1]), entry.offset)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (1,), (7, 3), (0, 4), (129, 65)], ids=str)
def test_a_tensor_arrives_bit_for_bit(sender, dtype, shape):
    tensor = (torch.randn(shape) * 50).to(dtype)
    manifest = sent(sender, {"first": torch.ones(3, dtype=torch.int8), "tensor": tensor})
    received = dict(Receiver().receive(manifest))
    assert list(received) == ["first", "tensor"]
    assert received["tensor"].dtype is dtype
    assert torch.equal(received["tensor"], tensor)


def test_views_and_parameters_may_be_sent(sender):
    matrix = torch.arange(12.0).reshape(3, 4)
    tensors = {"turned": matrix.t(), "parameter": torch.nn.Parameter(matrix[1:])}
    received = dict(Receiver().receive(sent(sender, tensors)))
    assert torch.equal(received["turned"], matrix.t())
    assert torch.equal(received["parameter"], matrix[1:])


def test_a_second_version_is_seen_through_the_first_mapping(sender):
    receiver = Receiver()
    first = dict(receiver.receive(sent(sender, {"w": torch.zeros(5)}, 1)))
    assert torch.equal(first["w"], torch.zeros(5))
    second = sent(sender, {"w": torch.ones(5)}, 2)
    assert second.version == 2
    assert torch.equal(dict(receiver.receive(second))["w"], torch.ones(5))


def test_a_larger_set_of_tensors_gets_a_larger_buffer(sender):
    receiver = Receiver()
    small = {"a": torch.ones(4)}
    assert torch.equal(dict(receiver.receive(sent(sender, small)))["a"], small["a"])
    large = {"a": torch.ones(4), "b": torch.ones(FIRST_BYTES // 4 + 1)}
    received = dict(receiver.receive(sent(sender, large, 2)))
    assert torch.equal(received["a"], large["a"])
    assert torch.equal(received["b"], large["b"])


def test_what_a_receiver_writes_does_not_reach_the_sender(sender):
    manifest = sent(sender, {"w": torch.zeros(5)})
    dict(Receiver().receive(manifest))["w"].fill_(1)
    assert torch.equal(dict(Receiver().receive(manifest))["w"], torch.zeros(5))


def test_a_byte_that_changes_on_the_way_names_its_tensor(sender):
    manifest = sent(sender, {"good": torch.randn(64), "bad": torch.randn(64)})
    corrupt(manifest, "bad")
    arrived = []
    with pytest.raises(WeightProofError, match=r"version 1: tensor bad .*checksum 0x"):
        for name, _ in Receiver().receive(manifest):
            arrived.append(name)
    assert arrived == ["good"]


def test_a_manifest_that_contradicts_itself_is_refused(sender):
    manifest = sent(sender, {"w": torch.zeros(4)})
    (entry,) = manifest.tensors
    for wrong in (replace(entry, shape=(5,)), replace(entry, dtype="complex32x")):
        with pytest.raises(WeightProofError, match="tensor w is said to be"):
            list(Receiver().receive(replace(manifest, tensors=(wrong,))))
    beyond = replace(entry, offset=manifest.address["nbytes"])
    with pytest.raises(WeightProofError, match="tensor w ends at byte"):
        list(Receiver().receive(replace(manifest, tensors=(beyond,))))


def test_a_receiver_on_another_machine_refuses_and_says_what_to_do(sender):
    manifest = sent(sender, {"w": torch.zeros(4)})
    elsewhere = replace(manifest, address=manifest.address | {"machine": "node7/boot/pid"})
    with pytest.raises(WeightProofError, match=r"node7.*another weights\.channel"):
        list(Receiver().receive(elsewhere))


def test_a_receiver_of_another_channel_refuses(sender):
    manifest = sent(sender, {"w": torch.zeros(4)})
    with pytest.raises(WeightProofError, match=r"rlvr\.weights\.other"):
        list(Receiver().receive(replace(manifest, channel="rlvr.weights.other")))


def test_a_sender_that_closed_is_reported_as_gone():
    sender = Sender(checksum_bytes=0)
    manifest = sent(sender, {"w": torch.zeros(4)})
    sender.close()
    with pytest.raises(WeightProofError, match="has ended"):
        list(Receiver().receive(manifest))


def test_a_descriptor_that_was_given_away_is_not_taken_for_the_buffer(sender):
    manifest = sent(sender, {"w": torch.zeros(4)})
    changed = replace(manifest, address=manifest.address | {"inode": 0})
    with pytest.raises(WeightProofError, match="is not the buffer"):
        list(Receiver().receive(changed))


def test_a_model_without_tensors_is_refused(sender):
    with pytest.raises(ValueError, match="no tensors"):
        sender.send([], version=version(1), probe=None)


@settings(deadline=None, max_examples=30)
@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=12), budget_bytes=st.integers(0, 200)
)
def test_every_tensor_is_hashed_within_as_many_sends_as_there_are_tensors(sizes, budget_bytes):
    tensors = {str(i): torch.zeros(size) for i, size in enumerate(sizes)}
    sender = Sender(checksum_bytes=budget_bytes)
    hashed: set[str] = set()
    for number in range(len(sizes)):
        manifest = sent(sender, tensors, number)
        sample = [entry for entry in manifest.tensors if entry.checksum is not None]
        assert sample
        assert len(sample) == 1 or sum(entry.nbytes for entry in sample) <= budget_bytes
        hashed |= {entry.name for entry in sample}
    sender.close()
    assert hashed == set(tensors)


RECEIVE = """
import pickle, sys
from rlvr.weights.shm import Receiver
manifest = pickle.load(sys.stdin.buffer)
print(sum(float(tensor.double().sum()) for _, tensor in Receiver().receive(manifest)))
"""


@pytest.mark.slow
def test_another_process_reads_the_same_numbers(sender):
    manifest = sent(sender, {"a": torch.arange(1000.0), "b": torch.ones(3, dtype=torch.bfloat16)})
    done = subprocess.run(
        [sys.executable, "-c", RECEIVE],
        input=pickle.dumps(manifest),
        capture_output=True,
        timeout=120,
        check=True,
    )
    assert float(done.stdout) == 499500.0 + 3.0
