"""Settings of the learner that are refused, before anything starts."""

from __future__ import annotations

import pytest
import torch

from rlvr.learner.engine import adamw
from rlvr.learner.settings import OptimizerSettings
from tests.learner.hosted import learner_settings

INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("lr", (-1.0, 0.0, INF, NAN)),
        ("warmup_steps", (-1, NAN)),
        ("eps", (0.0, -1e-8, INF, NAN)),
        ("weight_decay", (-0.1, INF, NAN)),
        ("grad_clip", (-1.0, INF, NAN)),
        ("betas", ((0.9, 1.0), (-0.1, 0.9), (NAN, 0.9), (0.9,))),
    ],
)
def test_an_optimizer_refuses_what_it_cannot_train_with(name, values):
    for value in values:
        with pytest.raises(ValueError, match=rf"^optimizer\.{name}=.*take ") as refused:
            OptimizerSettings(**{name: value})
        assert str(value) in str(refused.value)


def test_an_optimizer_takes_the_ends_of_its_ranges():
    ends = {"warmup_steps": 0, "weight_decay": 0.0, "grad_clip": 0.0, "betas": (0.0, 0.0)}
    made = OptimizerSettings(**ends)
    assert {name: getattr(made, name) for name in ends} == ends


@pytest.mark.parametrize(
    ("offload", "on_gpu", "fused"),
    [("none", False, False), ("none", True, True), ("optimizer", False, True)],
)
def test_adamw_makes_one_pass_where_several_cost(monkeypatch, offload, on_gpu, fused):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: on_gpu)
    settings = learner_settings(offload=offload, zero_stage=1)
    parameters = [torch.nn.Parameter(torch.ones(3))]
    assert adamw(parameters, settings, settings.optimizer).defaults["fused"] == fused
