import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr.advantages.whitening import whitened

ROWS = st.lists(st.lists(st.integers(-8, 8).map(lambda step: step / 8), max_size=5), max_size=5)


def test_by_hand():
    # Mean 2, squares 4 + 0 + 4, variance 4.
    assert whitened([[0.0, 2.0], [4.0]]) == [
        pytest.approx([-1.0, 0.0], abs=1e-8),
        pytest.approx([1.0], abs=1e-8),
    ]


def test_the_floor_is_added_to_the_variance():
    low, high = whitened([[0.0, 2e-4]])[0]
    assert -low == high == pytest.approx(1e-4 / (2e-8 + 1e-8) ** 0.5)


@settings(max_examples=100, deadline=None)
@given(rows=ROWS)
def test_mean_and_variance_are_those_of_all_rows(rows):
    flat = [value for row in whitened(rows) for value in row]
    if len({value for row in rows for value in row}) < 2:
        assert flat == [0.0] * len(flat)
        return
    assert sum(flat) == pytest.approx(0.0, abs=1e-9)
    assert statistics.variance(flat) == pytest.approx(1.0, abs=1e-5)


@settings(max_examples=100, deadline=None)
@given(pairs=st.lists(st.tuples(st.integers(-4, 4), st.integers(1, 5)), max_size=6))
def test_a_count_is_as_many_repetitions(pairs):
    numbers, counts = [n for n, _ in pairs], [count for _, count in pairs]
    repeated = whitened([[n] * count for n, count in pairs])
    expected = [row[0] for row in repeated]
    assert whitened([numbers], [counts])[0] == pytest.approx(expected, abs=1e-9)


def test_counts_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"counts of \[2, 1\] numbers for rows of \[1, 2\]: give"):
        whitened([[0.0], [1.0, 2.0]], [[1, 1], [1]])


@pytest.mark.parametrize("value", [0.0, 0.1, -1.0])
@pytest.mark.parametrize("count", [0, 1, 3, 10])
def test_equal_numbers_become_exact_zeros(value, count):
    assert whitened([[value] * count, [value]]) == [[0.0] * count, [0.0]]


def test_noise_of_rounding_stays_noise():
    assert max(map(abs, whitened([[0.1 + 0.2, 0.3, 0.3]])[0])) < 1e-10
