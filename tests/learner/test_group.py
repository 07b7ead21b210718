"""How a step is split and its failures are told, with ranks that only answer."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from rlvr.learner.group import LearnerGroup, shares, shuffled
from rlvr.learner.report import UpdateReport, combined
from rlvr.remote import WorkerDied
from rlvr.types import WeightVersion
from tests.learner.ranks import batch, settings


class Rank:
    """Answers at once, or fails as it was told to."""

    def __init__(self, name, failure=None, delay=0.0):
        self.name = name
        self.failure = failure
        self.delay = delay
        self.calls = []

    async def call(self, method, /, *args, phase, **kwargs):
        self.calls.append((method, args, phase))
        await asyncio.sleep(self.delay)
        if self.failure is not None:
            raise self.failure
        if method == "train":
            return UpdateReport(
                means={"a": (len(args[0].sequences.sampled_logprobs_T), 2)},
                sums={"actor/skipped": 1.0},
                maxima={"m": 1.0},
                latest={"actor/lr": 0.1},
            )
        return {"address": ("host", 1)}.get(method, f"{self.name} {method}")


def test_each_update_takes_whole_problems_and_all_ranks():
    ranks = [Rank("learner-0"), Rank("learner-1")]
    group = LearnerGroup(ranks, settings=settings(updates_per_step=2))
    there = batch(problems=4)
    metrics = asyncio.run(group.step(there))
    for rank in ranks:
        assert [method for method, _, _ in rank.calls] == ["train", "train"]
        assert [args[0].on_policy for _, args, _ in rank.calls] == [True, False]
    parts = [args[0] for rank in ranks for _, args, _ in rank.calls]
    assert sum(len(p.sequences.sampled_logprobs_T) for p in parts) == there.loss_tokens
    assert metrics["perf/loss_tokens"] == there.loss_tokens
    assert metrics["actor/skipped"] == 2
    assert 0 <= metrics["perf/padding_share"] < 0.5


def test_shares_hold_whole_problems():
    samples = batch(problems=5, rollouts=3).samples
    parts = shares(samples, 2)
    assert [sample for part in parts for sample in part] == list(samples)
    assert sorted(len(part) for part in parts) == [6, 9]
    with pytest.raises(ValueError, match="updates_per_step=6 with 5 problems"):
        shares(samples, 6)


def test_shuffled_problems_keep_their_samples_together_and_in_order():
    samples = batch(problems=9, rollouts=4).samples
    found = shuffled(samples, seed=3)
    order = [sample.problem for sample in found[::4]]
    assert order != sorted(order) == list(range(9))
    for index, problem in enumerate(order):
        mine = [sample for sample in samples if sample.problem == problem]
        assert found[4 * index : 4 * index + 4] == mine
    assert shuffled(samples, seed=3) == found
    assert shuffled(samples, seed=4) != found
    assert [sample.problem for sample in samples] == sorted(sample.problem for sample in samples)


@pytest.mark.parametrize("updates", [1, 3])
def test_updates_take_problems_by_chance_and_not_in_the_order_they_were_done(updates):
    rank = Rank("learner-0")
    group = LearnerGroup([rank], settings=settings(updates_per_step=updates))
    there = replace(batch(problems=12, rollouts=2), version=WeightVersion(7))
    asyncio.run(group.step(there))
    assert len(rank.calls) == updates
    trained = []
    for _, (part, *_), _ in rank.calls:
        sequences = part.sequences
        ends = np.cumsum(sequences.completion_lengths_B)[:-1]
        rows = np.split(sequences.sampled_logprobs_T, ends)
        # The rank sorts them by length; here it is what an update takes that counts.
        back = np.argsort(part.samples_B)
        trained += [rows[index].tolist() for index in back]
    as_they_came, by_chance = (
        [np.float32(sample.rollout.logprobs_T).tolist() for sample in samples]
        for samples in (there.samples, shuffled(there.samples, seed=7))
    )
    assert as_they_came != by_chance
    assert trained == (as_they_came if updates == 1 else by_chance)


def test_metrics_of_updates_are_no_means_of_means():
    def report(total, count, skipped, largest, lr):
        return UpdateReport(
            means={"a": (total, count), "empty": (0.0, 0.0)},
            sums={"s": skipped},
            maxima={"m": largest},
            latest={"lr": lr},
        )

    reports = [report(1.0, 1.0, 0.0, 5.0, 0.1), report(6.0, 3.0, 1.0, 4.0, 0.2)]
    assert combined(reports) == {"a": 1.75, "s": 1.0, "m": 5.0, "lr": 0.2}


def test_the_first_failure_names_its_rank_and_keeps_its_type():
    ranks = [Rank("learner-0"), Rank("learner-1", ZeroDivisionError("x"))]
    with pytest.raises(ZeroDivisionError) as raised:
        asyncio.run(LearnerGroup(ranks, settings=settings()).save("there"))
    assert raised.value.__notes__ == ["raised by learner-1 in phase 'save'"]


def test_a_death_explains_the_peers_that_failed_before_it():
    ranks = [
        Rank("learner-0", RuntimeError("connection closed by peer")),
        Rank("learner-1", WorkerDied("learner-1 is gone"), delay=0.05),
    ]
    with pytest.raises(WorkerDied) as raised:
        asyncio.run(LearnerGroup(ranks, settings=settings()).save("there"))
    assert raised.value.__notes__ == [
        "raised by learner-1 in phase 'save'",
        "learner-0 failed too: RuntimeError: connection closed by peer",
    ]


def test_the_first_sync_is_probed_and_then_every_so_many():
    rank = Rank("learner-0")
    group = LearnerGroup([rank], settings=settings(probe_every=3))

    async def publish():
        for version in range(5):
            await group.publish(version)

    asyncio.run(publish())
    assert [args[:2] for _, args, _ in rank.calls] == [
        (0, True),
        (1, False),
        (2, False),
        (3, True),
        (4, False),
    ]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"dtype": "bfloat16", "zero_stage": 0}, "take zero_stage 2 or 3"),
        ({"dtype": "float16"}, "learner.dtype='float16': take one of"),
        ({"layout": "ragged"}, "take one of"),
        ({"aggregation": "mean"}, "take one of"),
        ({"head_chunk": 0}, "at least 1"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        settings(**changes)
