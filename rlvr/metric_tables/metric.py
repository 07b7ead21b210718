"""What is said of a metric, and the populations that most of them are over."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    unit: str
    over: str
    """The population: what is counted, averaged or timed."""
    formula: str
    watch: str = ""
    """What a wrong value looks like, and what it means."""


def seconds(what: str, watch: str = "") -> Metric:
    return Metric(unit="s", over="the step", formula=f"wall time of {what}", watch=watch)


TRAINED = "rollouts that are trained on"
TOKENS = "completion tokens that are trained on"
NEW_TOKENS = "trained tokens whose version is the one that the step starts from"
GROUPS = "graded groups of the step"
SAMPLED = "rollouts that finished in the step, kept and dropped"
GRADED = "all grading since the last step's figures, evaluation's included"
HELD_OUT = "held-out problems of the source"
