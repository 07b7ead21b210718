"""What a loss is given of a micro-batch, and that nothing of it is waited for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rlvr.learner.device_batch import device_batch
from rlvr.learner.packing import Weighted, work
from rlvr.learner.sequences import Sequences
from tests.learner.ranks import batch

CPU = torch.device("cpu")


def works(layout: str):
    samples = batch(problems=2, rollouts=2).samples
    zeros = np.zeros(len(samples), np.float32)
    weighted = Weighted(samples=samples, weights_B=zeros + 0.1, correct_weights_B=zeros)
    told = {"version": 0, "ranks": 1, "tokens_per_microbatch": 512, "on_policy": True}
    return work(weighted, layout=layout, **told)[0], samples


@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_a_micro_batch_knows_how_many_sequences_it_has(layout):
    made, samples = works(layout)
    whole = device_batch(made, np.arange(4), CPU)
    assert whole.sequences == 4
    part = device_batch(made, np.array([2]), CPU)
    assert part.sequences == 1
    nobodys = device_batch(made, np.arange(0), CPU)
    assert nobodys.sequences == int(nobodys.tensors["sequence_T"].max()) + 1
    lengths = [len(samples[int(b)].rollout.completion_ids_T) for b in made.samples_B]
    logprobs_T = torch.zeros(sum(lengths))
    assert Sequences(whole.inputs(logprobs_T, logprobs_T)).lengths_B.tolist() == lengths


def test_a_loss_gets_the_rows_of_its_tokens():
    made, _ = works("padded")
    whole = device_batch(made, np.arange(4), CPU)
    inputs = whole.inputs(torch.zeros(2), torch.ones(2), slice(1, 3))
    assert torch.equal(inputs.sampled_logprobs_T, whole.tensors["sampled_logprobs_T"][1:3])
    assert torch.equal(inputs.lag_T, whole.tensors["lag_T"][1:3])
    assert inputs.proximal_logprobs_T is None
    assert (inputs.logprobs_T.sum(), inputs.entropy_T.sum(), inputs.sequences) == (0, 2, 4)


def test_sequences_of_a_known_number_are_summed_without_a_look_at_the_device():
    # Tensors on "meta" have no numbers that could be looked at.
    made, _ = works("packed")
    nowhere = device_batch(made, np.arange(4), torch.device("meta"))
    logprobs_T = torch.zeros(len(nowhere.tensors["targets_T"]), device="meta")
    sequences = Sequences(nowhere.inputs(logprobs_T, logprobs_T))
    assert sequences.spread(sequences.means(logprobs_T)).shape == logprobs_T.shape
