import pickle

import pytest

from rlvr.metrics import METRICS
from rlvr.rewards.serving.jail import Judged
from rlvr.rewards.serving.workload import Reservoir, Workload, metrics, quantile
from tests.conftest import verdict


def workload(*seconds, waited=0.0, cached=0, capacity=10.0):
    load = Workload(capacity_seconds=capacity)
    for one in seconds:
        load.add(Judged((verdict(1.0),), one, cached), queue_seconds=waited)
    return load


def test_a_reservoir_keeps_an_even_sample():
    reservoir = Reservoir(200)
    assert reservoir.quantile(0.5) == 0
    for value in range(10_000):
        reservoir.add(float(value))
    assert 4000 < reservoir.quantile(0.5) < 6000
    assert reservoir.quantile(0.99) > 9500


def test_a_quantile_is_of_the_weight_and_not_of_the_number_of_values():
    assert quantile([(1.0, 98.0), (5.0, 1.0), (9.0, 1.0)], 0.5) == 1.0
    assert quantile([(1.0, 98.0), (5.0, 1.0), (9.0, 1.0)], 0.99) == 9.0
    assert quantile([(3.0, 1.0)], 0.99) == 3.0
    assert quantile([], 0.5) == 0.0


def test_workers_add_up_however_much_each_has_done():
    busy, idle = workload(*[1.0] * 6, waited=2.0, cached=1), workload(4.0, 8.0, waited=1.0)
    added = metrics([busy, idle])
    assert added["reward/busy"] == pytest.approx(18 / 20)
    assert added["reward/queue_seconds"] == pytest.approx(14 / 8)
    assert added["reward/latency_seconds/p50"] == 1.0
    assert added["reward/latency_seconds/p99"] == 8.0
    assert (added["reward/cache_hits"], added["reward/cache_hit_rate"]) == (6.0, 6 / 8)


def test_a_group_that_was_judged_at_once_works_once_and_waits_for_each_text():
    load = Workload(capacity_seconds=4.0)
    load.add(Judged((verdict(1.0), verdict(0.0)), 2.0), queue_seconds=3.0)
    added = metrics([load])
    assert (added["reward/busy"], added["reward/queue_seconds"]) == (0.5, 3.0)


def test_without_a_verdict_there_is_no_latency_to_report():
    assert metrics([]) == {"reward/killed": 0, "reward/died": 0, "reward/cache_hits": 0}
    assert "reward/latency_seconds/p50" not in metrics([workload()])


def test_every_number_is_a_metric_of_the_table():
    assert set(metrics([workload(1.0)])) <= set(METRICS)


def test_a_workload_travels_between_processes():
    copy = pickle.loads(pickle.dumps(workload(1.0, 2.0)))
    assert metrics([copy]) == metrics([workload(1.0, 2.0)])
