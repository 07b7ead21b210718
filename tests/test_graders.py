import asyncio
import os
import signal
from dataclasses import replace

import psutil
import pytest

from rlvr import graders
from rlvr.cluster.cluster import Cluster
from rlvr.config import BudgetConfig, ClusterConfig, RewardServiceConfig, RunConfig
from rlvr.types import RolloutGroup
from tests.conftest import problem, rollout

pytestmark = pytest.mark.slow

BUDGETS = BudgetConfig(start=60, grade=30, stop=5)


def run_config(**service):
    settings = {"processes": 1, "seconds": 5.0, "memory_gb": 1.0} | service
    return RunConfig(
        reward={"_target_": "rlvr.rewards.math.Math"},
        reward_service=RewardServiceConfig(**settings),
    )


def with_graders(path, use, **settings):
    async def session():
        run = run_config(**settings)
        async with Cluster(ClusterConfig(), BUDGETS, path, graders.asks(run)) as cluster:
            service = await graders.start(run, cluster, [problem()])
            return await use(cluster, service)

    return asyncio.run(asyncio.wait_for(session(), 180))


def group(*texts):
    return RolloutGroup(problem=problem(), rollouts_G=tuple(rollout(text) for text in texts))


def test_a_reward_worker_that_is_killed_is_replaced_and_takes_its_processes_along(tmp_path):
    async def use(cluster, service):
        texts = group("\\boxed{4}", "\\boxed{5}")
        assert (await service.grade(texts)).rewards_G == (1.0, 0.0)
        (row,) = cluster.layout()
        family = psutil.Process(row.pid).children(recursive=True)
        os.kill(row.pid, signal.SIGKILL)
        assert (await service.grade(texts)).rewards_G == (1.0, 0.0)
        assert [r.worker for r in cluster.layout()] == ["reward-0", "reward-0.1"]
        assert (await service.metrics())["reward/workers"] == 1
        _, alive = psutil.wait_procs(family, timeout=10)
        assert alive == []

    with_graders(tmp_path, use)


def test_one_worker_starts_on_each_node(tmp_path):
    async def use(cluster, service):
        assert (await service.grade(group("\\boxed{4}"))).rewards_G == (1.0,)
        assert [row.worker for row in cluster.layout()] == ["reward-0"]
        assert len(cluster.nodes()) == 1

    with_graders(tmp_path, use, workers=0)


def test_a_quota_of_nobody_ends_the_start(tmp_path):
    async def use(cluster, service):
        raise AssertionError("it has started")

    with pytest.raises(ExceptionGroup) as caught:
        with_graders(tmp_path, use, quotas={"code": 1})
    assert "reward_service.quotas.code" in str(caught.value.exceptions[0])


def test_workers_are_made_of_the_settings():
    run = run_config(cache=7, quotas={"Math": 1})
    assert run.reward_service.worker_arguments(run.reward) == {
        "spec": run.reward,
        "processes": 1,
        "seconds": 5.0,
        "memory_gb": 1.0,
        "cache": 7,
        "quotas": {"Math": 1},
        "start_seconds": 60.0,
    }
    assert [ask.name for ask in graders.asks(run)] == ["reward-0"]
    none = replace(run, reward_service=replace(run.reward_service, workers=0))
    assert graders.asks(none) == []
