import math
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlvr.metrics import METRICS, Window, describe, markdown


def test_a_mean_is_over_members_and_not_over_groups():
    window = Window()
    window.mean("reward", total=1.0, count=1)
    window.mean("reward", total=0.0, count=3)
    assert window.values() == {"reward": 0.25}


def test_a_mean_over_nobody_is_left_out_and_a_sum_of_nothing_is_zero():
    window = Window()
    window.mean("reward", total=0.0, count=0)
    window.total("dropped", 0)
    assert window.values() == {"dropped": 0.0}


def test_extremes_are_kept():
    window = Window()
    for value in (2.0, -1.0, 5.0):
        window.largest("max", value)
        window.smallest("min", value)
    assert window.values() == {"max": 5.0, "min": -1.0}


@given(
    st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(1, 50)), min_size=1, max_size=30),
    st.integers(0, 30),
    st.randoms(use_true_random=False),
)
def test_order_and_split_of_what_is_added_leave_no_trace(
    parts: list[tuple[float, int]], cut: int, shuffle: random.Random
):
    def window_of(some: list[tuple[float, int]]) -> Window:
        window = Window()
        for total, count in some:
            window.mean("mean", total, count)
            window.total("sum", total)
            window.largest("max", total)
        return window

    whole = window_of(parts).values()
    shuffled = list(parts)
    shuffle.shuffle(shuffled)
    merged = window_of(shuffled[:cut])
    merged.add(window_of(shuffled[cut:]))
    assert merged.values() == whole


def test_a_value_that_is_not_finite_stays_visible():
    window = Window()
    for value in (math.inf, -math.inf):
        window.mean("loss", value)
    assert math.isnan(window.values()["loss"])


def test_draining_starts_the_next_step_from_nothing():
    window = Window()
    window.total("kept", 2)
    assert window.drain() == {"kept": 2.0}
    assert window.values() == {}


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("actor/ppo_kl", "actor/ppo_kl"),
        ("difficulty/kept", "difficulty/kept"),
        ("difficulty/too_easy", "difficulty/<reason>"),
        ("rewards/timeout", "rewards/<outcome>"),
        ("val-core/arithmetic/3/acc/mean@8", "val-core/<source>/acc/mean@<n>"),
        ("val-core/gsm8k/acc/greedy", "val-core/<source>/acc/greedy"),
    ],
)
def test_a_logged_key_finds_its_description(key: str, name: str):
    assert describe(key) is METRICS[name]


def test_a_key_of_nobody_has_no_description():
    assert describe("my/own") is None


def test_the_table_has_a_row_of_five_cells_for_every_metric():
    rows = markdown().splitlines()[2:]
    assert len(rows) == len(METRICS)
    assert all(len(re.split(r"(?<!\\)\|", row)) == 7 for row in rows)
