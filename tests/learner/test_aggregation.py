import numpy as np
import pytest

from rlvr.learner.aggregation import AGGREGATIONS, token_weights

LOSSES = [[1, 2, 3, 4], [5, 6, 7]]


@pytest.mark.parametrize(
    ("aggregation", "loss"),
    [
        ("token-mean", 4.0),
        ("seq-mean-token-mean", 4.25),
        ("seq-mean-token-sum", 14.0),
        ("seq-mean-token-sum-norm", 1.75),
        ("token-sum", 28.0),
    ],
)
def test_by_hand(aggregation, loss):
    weights_B = token_weights(np.array([4, 3]), aggregation, max_tokens=8)
    total = sum(w * sum(losses) for w, losses in zip(weights_B, LOSSES, strict=True))
    assert total == pytest.approx(loss, rel=1e-15)


@pytest.mark.parametrize("lengths", [[4, 3], (4, 3), np.array([4, 3], np.int32), range(4, 2, -1)])
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_any_lengths_will_do_and_weights_are_doubles(lengths, aggregation):
    weights_B = token_weights(lengths, aggregation, max_tokens=8)
    assert weights_B.dtype == np.float64
    assert weights_B.tolist() == token_weights([4, 3], aggregation, max_tokens=8).tolist()


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_of_no_samples_there_are_no_weights(aggregation):
    assert token_weights([], aggregation, max_tokens=8).tolist() == []


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("length", [0, -1])
def test_a_sample_without_tokens_is_refused(aggregation, length):
    with pytest.raises(ValueError, match=rf"lengths_B.*{length}.*leave it out"):
        token_weights([4, length, 3], aggregation, max_tokens=8)


def test_a_length_that_divides_by_nothing_is_refused():
    with pytest.raises(ValueError, match=r"max_tokens=0.*take 1 or more"):
        token_weights([4], "seq-mean-token-sum-norm", max_tokens=0)


def test_a_rank_with_few_tokens_counts_no_more():
    # Losses 10 over 4 tokens on one rank and 3 over 1 on the other: 2.6, not (2.5 + 3) / 2.
    weights_B = token_weights(np.array([4, 1]), "token-mean", max_tokens=8)
    assert weights_B[0] * 10 + weights_B[1] * 3 == pytest.approx(2.6)


def test_an_unknown_name_is_refused_with_those_that_exist():
    with pytest.raises(ValueError, match=AGGREGATIONS[-1]):
        token_weights(np.array([4]), "mean", max_tokens=8)
