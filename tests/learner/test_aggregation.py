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
    ],
)
def test_by_hand(aggregation, loss):
    weights_B = token_weights(np.array([4, 3]), aggregation, max_tokens=8)
    total = sum(w * sum(losses) for w, losses in zip(weights_B, LOSSES, strict=True))
    assert total == pytest.approx(loss)


def test_a_rank_with_few_tokens_counts_no_more():
    # Losses 10 over 4 tokens on one rank and 3 over 1 on the other: 2.6, not (2.5 + 3) / 2.
    weights_B = token_weights(np.array([4, 1]), "token-mean", max_tokens=8)
    assert weights_B[0] * 10 + weights_B[1] * 3 == pytest.approx(2.6)


def test_an_unknown_name_is_refused_with_those_that_exist():
    with pytest.raises(ValueError, match=AGGREGATIONS[-1]):
        token_weights(np.array([4]), "mean", max_tokens=8)
