import math

import pytest

from rlvr.metrics import describe
from rlvr.rollout.engine import Sampling
from rlvr.rollout.temperature import EntropyTarget


def started(**settings) -> EntropyTarget:
    control = EntropyTarget(**settings)
    control.apply(Sampling(temperature=1.0))
    return control


@pytest.mark.parametrize(("entropy", "expected"), [(0.15, math.exp(0.05)), (0.45, math.exp(-0.05))])
def test_it_warms_what_is_too_sure_and_cools_what_is_not(entropy, expected):
    control = started(target=0.3, rate=0.1)
    metrics = control.observe({"actor/entropy": entropy})
    assert metrics == {"rollout/temperature": pytest.approx(expected)}
    assert control.apply(Sampling(temperature=1.0, max_tokens=7)) == Sampling(
        temperature=control.temperature, max_tokens=7
    )
    assert all(describe(name) for name in metrics)


def test_it_settles_where_the_entropy_is_the_target():
    control = started(target=0.3, rate=0.2)
    for _ in range(200):
        control.observe({"actor/entropy": 0.2 * control.temperature})
    assert control.temperature == pytest.approx(1.5, rel=1e-3)


def test_it_stays_within_its_bounds_and_moves_by_no_more_than_its_rate():
    control = started(target=0.3, rate=0.1, low=0.9, high=1.02)
    control.observe({"actor/entropy": 1e9})
    assert control.temperature == pytest.approx(math.exp(-0.1))
    for _ in range(9):
        control.observe({"actor/entropy": 0.0})
    assert control.temperature == 1.02


@pytest.mark.parametrize("metrics", [{}, {"actor/entropy": math.nan}])
def test_a_step_that_measured_nothing_changes_nothing(metrics):
    control = started()
    control.observe(metrics)
    assert control.temperature == 1.0


def test_a_resumed_run_goes_on_at_the_temperature_it_had():
    control = started()
    control.observe({"actor/entropy": 0.0})
    resumed = EntropyTarget()
    resumed.load_state_dict(control.state_dict())
    assert resumed.apply(Sampling(temperature=1.0)).temperature == control.temperature != 1.0


@pytest.mark.parametrize(
    "settings",
    [{"target": 0.0}, {"target": math.nan}, {"rate": 0.0}, {"rate": 2.0}, {"low": 2.0}],
)
def test_settings_that_could_not_work_are_refused(settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))}=.*take"):
        EntropyTarget(**settings)


def test_a_start_outside_the_bounds_is_refused():
    with pytest.raises(ValueError, match=r"sampling\.temperature=0\.1.*start between"):
        EntropyTarget().apply(Sampling(temperature=0.1))
