"""Rank processes take seconds to start, so all tests of a session share a few."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.learner.ranks import Descent, Learner, RankProcess, settings, tiny_model


@pytest.fixture(scope="session")
def ranks():
    """Processes by world size. DeepSpeed numbers a process's parameters through, and under ZeRO-3
    ranks must agree on the numbers; so a process always serves with the same peers."""
    processes: dict[int, list[RankProcess]] = {}

    def of(world_size: int) -> list[RankProcess]:
        if world_size not in processes:
            names = [f"learner-{rank}-of-{world_size}" for rank in range(world_size)]
            processes[world_size] = [RankProcess(name) for name in names]
        return processes[world_size]

    yield of
    for peers in processes.values():
        for process in peers:
            process.stop()


@pytest.fixture(scope="session")
def tied(tmp_path_factory) -> str:
    return tiny_model(tmp_path_factory.mktemp("tied"))


@pytest.fixture(scope="session")
def untied(tmp_path_factory) -> str:
    return tiny_model(tmp_path_factory.mktemp("untied"), tied=False)


@pytest.fixture
def learner(ranks, tied) -> Callable[..., Learner]:
    """Makes a started learner; the one before it is closed."""
    made: list[Learner] = []

    def make(*, world_size: int = 1, model: str = tied, worker: type = Descent, **changes):
        if made:
            made.pop().close()
        made.append(Learner(ranks(world_size), model, worker, settings(**changes)))
        return made[-1]

    yield make
    if made:
        made.pop().close()
