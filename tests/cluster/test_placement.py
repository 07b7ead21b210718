import pytest

from rlvr.cluster.placement import Ask, refuse_impossible
from rlvr.config import ConfigError


def asks(rollouts=1, learners=1, gpus=0.0, cpus=1.0):
    def of(section, count):
        return [
            Ask(name=f"{section}-{i}", section=section, cpus=cpus, gpus=gpus) for i in range(count)
        ]

    return of("rollout", rollouts) + of("learner", learners)


def test_what_fits_is_not_refused():
    refuse_impossible(asks(gpus=1), [{"CPU": 8, "GPU": 2}])
    refuse_impossible(asks(gpus=0), [{"CPU": 2}])
    refuse_impossible([], [{"CPU": 2}])


def test_without_a_gpu_the_message_says_what_to_use_instead():
    with pytest.raises(ConfigError) as caught:
        refuse_impossible(asks(rollouts=2, gpus=1), [{"CPU": 8}])
    message = str(caught.value)
    assert "rollout.gpus=1 x 2 workers + learner.gpus=1 x 1 worker: 3 GPUs asked" in message
    assert "has 0 (at most 0 on one of its 1 nodes)" in message
    assert "recipe=grpo_tiny, or rollout.gpus=0 learner.gpus=0" in message


def test_with_too_few_gpus_the_message_says_which_settings_to_lower():
    with pytest.raises(ConfigError, match=r"Lower rollout\.workers or learner\.workers"):
        refuse_impossible(asks(rollouts=4, gpus=1), [{"CPU": 8, "GPU": 4}])


def test_one_workers_share_must_be_on_one_node():
    with pytest.raises(ConfigError, match="at most 2 on one of its 4 nodes"):
        refuse_impossible(asks(rollouts=1, learners=1, gpus=4), [{"CPU": 8, "GPU": 2}] * 4)


def test_cores_are_checked_as_well():
    with pytest.raises(ConfigError, match=r"rollout\.cpus=8 x 1 worker"):
        refuse_impossible(asks(cpus=8), [{"CPU": 8}])
