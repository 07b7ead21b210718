import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr.ragged import cut, joined, sums, to_go

NUMBERS = st.floats(-4, 4, allow_subnormal=False)
ROWS = st.lists(st.lists(NUMBERS, max_size=7), max_size=6)


@settings(max_examples=50, deadline=None)
@given(rows=ROWS)
def test_rows_come_back_as_they_were(rows):
    numbers_N, lengths_R = joined(rows)
    assert numbers_N.tolist() == [x for row in rows for x in row]
    again = cut(numbers_N, lengths_R)
    assert [row.tolist() for row in again] == rows
    assert sums(numbers_N, lengths_R).tolist() == pytest.approx([sum(row) for row in rows])


def test_a_row_takes_no_more_than_its_numbers():
    (row,) = cut(np.arange(1000.0), np.array([1000]))
    assert row.itemsize == 8
    assert len(pickle.dumps(row)) < 8 * 1000 + 200
    assert pickle.loads(pickle.dumps(row)) == row


@settings(max_examples=100, deadline=None)
@given(
    pairs=st.lists(
        st.tuples(st.lists(NUMBERS, max_size=7), st.sampled_from([0.0, 0.5, 0.95, 1.0])), max_size=6
    )
)
def test_what_follows_is_added_up_within_each_row_with_its_factor(pairs):
    rows = [row for row, _ in pairs]
    expected = []
    for row, factor in pairs:
        following, there = 0.0, []
        for number in reversed(row):
            following = number + factor * following
            there.append(following)
        expected += there[::-1]
    numbers_N, lengths_R = joined(rows)
    factors_R = np.array([factor for _, factor in pairs], np.float64)
    assert to_go(numbers_N, lengths_R, factors_R).tolist() == expected


def test_a_number_that_is_none_stays_in_its_row_and_before_it():
    numbers_N, lengths_R = joined([[1.0, 1.0], [1.0, float("nan"), 1.0], [1.0]])
    found = to_go(numbers_N, lengths_R, np.ones(3))
    assert found[[0, 1, 4, 5]].tolist() == [2.0, 1.0, 1.0, 1.0]
    assert np.isnan(found[[2, 3]]).all()
