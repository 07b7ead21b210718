from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlvr.learner.packing import Weighted, collate, columns_of, flatten, work
from rlvr.learner.planning import LAYOUTS, plan, size
from rlvr.types import TokenScores, TrainSample
from tests.conftest import rollout

lengths = st.lists(st.integers(1, 50), max_size=40).map(lambda x: np.array(x, np.int64))


def sample(prompt, completion, *, advantage=0.0, version=0):
    tokens = len(completion)
    made = rollout(
        prompt_ids=tuple(prompt),
        completion_ids_T=tuple(completion),
        logprobs_T=tuple(-0.5 * (i + 1) for i in range(tokens)),
        versions_T=(version,) * tokens,
    )
    return TrainSample(rollout=made, advantage=advantage)


SAMPLES = [
    sample([1, 2], [3, 4, 5], advantage=1.0),
    sample([6], [7], advantage=-1.0, version=1),
    sample([8, 9, 10], [11, 12], advantage=0.5),
]
WEIGHTS = np.array([0.1, 0.2, 0.3], np.float32)
WEIGHTED = Weighted(samples=SAMPLES, weights_B=WEIGHTS, correct_weights_B=0 * WEIGHTS)


@given(lengths, st.integers(1, 4), st.integers(50, 200), st.sampled_from(LAYOUTS))
def test_a_plan_takes_every_sample_once_within_the_bound(lengths_B, ranks, bound, layout):
    parts = plan(lengths_B, ranks=ranks, tokens_per_microbatch=bound, layout=layout)
    assert len(parts) == ranks
    assert len({len(microbatches) for microbatches in parts}) == 1
    taken = [i for microbatches in parts for microbatch in microbatches for i in microbatch]
    assert sorted(taken) == list(range(len(lengths_B)))
    for microbatches in parts:
        assert all(size(lengths_B[m], layout) <= bound for m in microbatches)


@given(lengths, st.integers(1, 4), st.sampled_from(LAYOUTS))
def test_a_plan_has_no_round_of_empty_microbatches(lengths_B, ranks, layout):
    parts = plan(lengths_B, ranks=ranks, tokens_per_microbatch=60, layout=layout)
    rounds = zip(*parts, strict=True)
    assert all(any(len(m) for m in microbatches) for microbatches in rounds) or not len(lengths_B)


def test_ranks_get_about_the_same_number_of_tokens():
    lengths_B = np.random.default_rng(0).integers(20, 400, 512)
    parts = plan(lengths_B, ranks=4, tokens_per_microbatch=4096, layout="padded")
    sizes = [sum(size(lengths_B[m], "padded") for m in microbatches) for microbatches in parts]
    assert max(sizes) < 1.05 * min(sizes)
    assert sum(sizes) < 1.05 * lengths_B.sum()


def test_a_sample_over_the_bound_is_refused_with_what_to_raise():
    with pytest.raises(ValueError, match=r"sample of 61 tokens.*tokens_per_microbatch=60"):
        plan(np.array([5, 61]), ranks=1, tokens_per_microbatch=60, layout="padded")


def test_the_bound_for_samples_that_belong_together_is_as_many_times_that_of_one():
    complaint = r"2 samples that belong together of 62 tokens.*at least 2 x \(sampling\.max_prompt"
    with pytest.raises(ValueError, match=complaint):
        plan(np.array([31, 31]), ranks=1, tokens_per_microbatch=60, layout="packed", together=2)


@given(
    st.lists(st.tuples(st.integers(1, 25), st.integers(1, 25)), max_size=20),
    st.integers(1, 3),
    st.sampled_from(LAYOUTS),
)
def test_samples_that_belong_together_stay_neighbours_in_one_microbatch(pairs, ranks, layout):
    lengths_B = np.array(pairs, np.int64).reshape(-1)
    parts = plan(lengths_B, ranks=ranks, tokens_per_microbatch=60, layout=layout, together=2)
    taken = [m.reshape(-1, 2).tolist() for microbatches in parts for m in microbatches]
    units = sorted(unit for microbatch in taken for unit in microbatch)
    assert units == [[2 * i, 2 * i + 1] for i in range(len(pairs))]
    assert all(size(lengths_B[m], layout) <= 60 for microbatches in parts for m in microbatches)


def test_scores_and_credit_of_single_tokens_travel_with_their_tokens():
    samples = [
        replace(
            one,
            token_advantages_T=[10.0 * b + t for t in range(len(one.rollout.logprobs_T))],
            returns_T=[1.0] * len(one.rollout.logprobs_T),
            scores=TokenScores(logprobs_T=[-float(b)] * len(one.rollout.logprobs_T)),
        )
        for b, one in enumerate(SAMPLES)
    ]
    sequences = flatten(replace(WEIGHTED, samples=samples), version=1)
    microbatch = collate(sequences, np.array([2, 0]), layout="packed")
    assert microbatch.advantages_T.tolist() == [20, 21, 0, 1, 2]
    assert microbatch.proximal_logprobs_T.tolist() == [-2, -2, 0, 0, 0]
    assert microbatch.returns_T.tolist() == [1] * 5
    assert microbatch.reference_logprobs_T is None
    assert microbatch.values_T is None


def told(one, *, values=True, returns=True):
    """A sample with log-probs under the reference, and what else is asked for."""
    numbers = [0.5] * len(one.rollout.logprobs_T)
    scores = TokenScores(reference_logprobs_T=numbers, values_T=numbers if values else None)
    return replace(one, scores=scores, returns_T=numbers if returns else None)


def test_a_rank_without_samples_hands_over_the_same_arrays_as_the_others():
    weighted = replace(WEIGHTED, samples=[told(one, returns=False) for one in SAMPLES])
    parts = work(
        weighted, version=1, ranks=4, tokens_per_microbatch=8, layout="padded", on_policy=True
    )
    assert sorted(len(part.samples_B) for part in parts) == [0, 1, 1, 1]
    for part in parts:
        for there in (
            part.sequences,
            *(collate(part.sequences, b, layout="padded") for b in part.microbatches),
        ):
            assert there.reference_logprobs_T is not None
            assert there.values_T is not None
            assert there.proximal_logprobs_T is None
            assert there.returns_T is None


def test_what_some_samples_lack_is_left_out_on_every_rank():
    samples = [told(SAMPLES[0]), told(SAMPLES[1], values=False), told(SAMPLES[2])]
    assert columns_of(samples) == {"reference_logprobs_T", "returns_T"}
    assert columns_of([]) == frozenset()
    parts = work(
        replace(WEIGHTED, samples=samples),
        version=1,
        ranks=3,
        tokens_per_microbatch=8,
        layout="padded",
        on_policy=True,
    )
    for part in parts:
        assert len(part.samples_B) == 1
        assert part.sequences.values_T is None
        assert len(part.sequences.returns_T) == len(part.sequences.sampled_logprobs_T)


def test_the_tokens_of_a_sample_that_does_not_train_are_masked_and_keep_their_weights():
    samples = [replace(SAMPLES[0], trains=False), *SAMPLES[1:]]
    sequences = flatten(replace(WEIGHTED, samples=samples), version=1)
    microbatch = collate(sequences, np.array([0, 1]), layout="padded")
    assert microbatch.mask_T.tolist() == [False] * 3 + [True]
    np.testing.assert_array_equal(microbatch.weights_T, WEIGHTS[[0, 0, 0, 1]])


def test_padded_rows_by_hand():
    sequences = flatten(WEIGHTED, version=1)
    microbatch = collate(sequences, np.array([2, 0, 1]), layout="padded")
    assert microbatch.token_ids_RS.tolist() == [
        [8, 9, 10, 11, 12],
        [1, 2, 3, 4, 5],
        [6, 7, 0, 0, 0],
    ]
    assert microbatch.position_ids_RS is None
    assert microbatch.sources_T.tolist() == [2, 3, 6, 7, 8, 10]
    assert microbatch.targets_T.tolist() == [11, 12, 3, 4, 5, 7]
    assert microbatch.sampled_logprobs_T.tolist() == [-0.5, -1.0, -0.5, -1.0, -1.5, -0.5]
    assert microbatch.advantages_T.tolist() == [0.5, 0.5, 1.0, 1.0, 1.0, -1.0]
    np.testing.assert_array_equal(microbatch.weights_T, WEIGHTS[[2, 2, 0, 0, 0, 1]])
    assert microbatch.lag_T.tolist() == [1] * 5 + [0]
    assert microbatch.sequence_T.tolist() == [0, 0, 1, 1, 1, 2]
    assert microbatch.mask_T.all()


def test_a_packed_row_by_hand():
    sequences = flatten(WEIGHTED, version=1)
    microbatch = collate(sequences, np.array([1, 0]), layout="packed")
    assert microbatch.token_ids_RS.tolist() == [[6, 7, 1, 2, 3, 4, 5]]
    assert microbatch.position_ids_RS.tolist() == [[0, 1, 0, 1, 2, 3, 4]]
    assert microbatch.sources_T.tolist() == [0, 3, 4, 5]
    assert microbatch.targets_T.tolist() == [7, 3, 4, 5]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_empty_microbatch_becomes_a_dummy_that_trains_nothing(layout):
    microbatch = collate(flatten(WEIGHTED, version=1), np.empty(0, int), layout=layout)
    assert len(microbatch.targets_T) == len(microbatch.sequence_T) == 2
    assert not microbatch.mask_T.any()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_each_token_travels_with_what_belongs_to_it(layout, ranks):
    random = np.random.default_rng(3)
    samples = [
        replace(sample(random.integers(1, 99, 4), random.integers(1, 99, n)), advantage=float(n))
        for n in random.integers(1, 9, 20)
    ]
    weights_B = random.random(20).astype(np.float32)
    parts = work(
        Weighted(samples=samples, weights_B=weights_B, correct_weights_B=weights_B / 2),
        version=0,
        ranks=ranks,
        tokens_per_microbatch=40,
        layout=layout,
        on_policy=True,
    )
    got = []
    for part in parts:
        for samples_B in part.microbatches:
            if len(samples_B):
                m = collate(part.sequences, samples_B, layout=layout)
                before = m.token_ids_RS.reshape(-1)[m.sources_T]
                rows = (before, m.targets_T, m.sampled_logprobs_T, m.advantages_T, m.weights_T)
                np.testing.assert_array_equal(m.correct_weights_T, m.weights_T / 2)
                got += zip(*(row.tolist() for row in rows), strict=True)
    expected = []
    for s, weight in zip(samples, weights_B.tolist(), strict=True):
        ids = s.rollout.prompt_ids + s.rollout.completion_ids_T
        for i, logprob in enumerate(s.rollout.logprobs_T):
            at = len(s.rollout.prompt_ids) + i
            expected.append((ids[at - 1], ids[at], logprob, s.advantage, weight))
    assert sorted(got) == sorted(expected)
