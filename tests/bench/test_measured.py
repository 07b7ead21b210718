import pytest

from bench.measured import Evaluation, Run, Step, mean
from bench.watched import Process


def run(seconds: list[float], accuracies: dict[int, float], *, trained: int = 8) -> Run:
    return Run(
        name="rlvr",
        round=0,
        steps=tuple(
            Step(step=i, seconds=s, trained=trained, sampled=2 * trained, sampled_tokens=100)
            for i, s in enumerate(seconds, start=1)
        ),
        evaluations=tuple(Evaluation(step=s, accuracy=a) for s, a in accuracies.items()),
        startup_seconds=10.0,
        process=Process(wall_seconds=60, first_line_seconds=11, peak_mb=500, load_before=0),
        target=0.9,
    )


def test_rates_leave_out_warm_up_and_steps_that_follow_an_evaluation():
    measured = run([9, 9, 9, 2, 2, 0.1, 2], {0: 0.3, 5: 0.5})
    assert [step.step for step in measured.steady] == [4, 5, 7]
    assert measured.rate(lambda step: step.trained) == pytest.approx(8 / 2)
    assert measured.rate(lambda step: step.sampled) == pytest.approx(16 / 2)


def test_a_step_that_was_sampled_for_during_an_evaluation_is_charged_as_the_others():
    measured = run([9, 9, 9, 2, 2, 0.1, 2], {0: 0.3, 5: 0.5, 7: 0.95})
    assert measured.train_seconds(5) == pytest.approx(9 + 9 + 9 + 2 + 2)
    assert measured.seconds_to_target == pytest.approx(31 + 2 + 2)
    assert measured.seconds_with_startup == pytest.approx(45)


def test_the_target_is_reached_at_its_first_evaluation_even_if_accuracy_falls_again():
    assert run([1.0] * 6, {0: 0.1, 4: 0.9, 6: 0.8}).seconds_to_target == pytest.approx(4)


def test_a_run_that_never_reaches_the_target_has_no_time_to_it():
    assert run([1.0] * 6, {0: 0.1, 6: 0.89}).seconds_to_target is None


def test_a_run_too_short_for_a_steady_state_has_no_rate():
    assert run([1.0, 1.0], {0: 0.1}).rate(lambda step: step.trained) is None


def test_a_mean_over_rounds_of_which_one_failed_is_no_number():
    assert mean([1.0, None]) is None
    assert mean([1.0, 3.0]) == 2.0
