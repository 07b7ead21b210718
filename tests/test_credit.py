"""From graded groups to a batch that trains, with every kind of estimator."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import pickle
import pkgutil
import threading
from array import array
from dataclasses import dataclass, field, is_dataclass, replace

import pytest

from rlvr import advantages
from rlvr.advantages.base import TokenCredit
from rlvr.advantages.best_of_group import BestOfGroup
from rlvr.advantages.dr_grpo import DrGrpo
from rlvr.advantages.gae import Gae
from rlvr.advantages.gdpo import Gdpo
from rlvr.advantages.gpg import Gpg
from rlvr.advantages.grpo import Grpo
from rlvr.advantages.max_rl import MaxRl
from rlvr.advantages.mrt import Mrt, MrtProgress
from rlvr.advantages.opo import Opo
from rlvr.advantages.pairs import CorrectVersusWrong, ShortestVersusLonger
from rlvr.advantages.pass_at_k import PassAtK
from rlvr.advantages.pshw import Pshw
from rlvr.advantages.reinforce import Reinforce, ReinforceBatchMean, ReinforceRunningMean
from rlvr.advantages.reinforce_pp import ReinforcePp, ReinforcePpBaseline
from rlvr.advantages.reward_kl import RewardKl
from rlvr.advantages.rloo import Rloo
from rlvr.advantages.step_mc import StepMonteCarlo
from rlvr.advantages.vapo import LengthAdaptiveGae
from rlvr.credit import Credit
from rlvr.metrics import describe
from rlvr.types import (
    Finish,
    GradedGroup,
    Outcome,
    Problem,
    Rollout,
    TokenScores,
    Verdict,
    WeightVersion,
)

VERSION = WeightVersion(4)
REWARDS = ([1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0])
LENGTHS = ([2, 4, 1, 3], [3, 1, 2, 5])


def group(rewards, lengths, *, problem=0, prefixes=()) -> GradedGroup:
    """Each rollout is its own first token, repeated; a reward above 0 is correct."""
    rollouts = tuple(
        Rollout(
            prompt_ids=(1,),
            completion_ids_T=(10 * problem + index,) * length,
            logprobs_T=(-1.0,) * length,
            versions_T=(VERSION,) * length,
            text="",
            finish=Finish.STOP,
        )
        for index, length in enumerate(lengths)
    )
    verdicts = tuple(
        Verdict(
            outcome=Outcome.CORRECT if reward > 0 else Outcome.WRONG,
            reward=reward,
            parts={"math": reward, "short": 1.0 / length},
        )
        for reward, length in zip(rewards, lengths, strict=True)
    )
    return GradedGroup(
        problem=Problem(id=f"p{problem}", prompt="", answer=""),
        rollouts_G=rollouts,
        verdicts_G=verdicts,
        prefix_values_G=prefixes,
    )


def groups():
    pairs = enumerate(zip(REWARDS, LENGTHS, strict=True))
    return [group(rewards, lengths, problem=problem) for problem, (rewards, lengths) in pairs]


@dataclass
class Scripted:
    """Says of each token what its id makes of it."""

    proximal: bool = True
    reference: bool = True
    asked: list = field(default_factory=list)

    async def score(self, rollouts, version):
        self.asked.append((list(rollouts), version))
        await asyncio.sleep(0)
        return [
            TokenScores(
                logprobs_T=[-1.5] * len(r.completion_ids_T) if self.proximal else None,
                reference_logprobs_T=(
                    [-1.5 - 0.1 * i for i in r.completion_ids_T] if self.reference else None
                ),
                values_T=[0.01 * i for i in r.completion_ids_T],
            )
            for r in rollouts
        ]


@dataclass
class Watched:
    """An estimator over the batch that gives each rollout its place in it."""

    calls: list = field(default_factory=list)

    def __call__(self, group):
        raise AssertionError("asked about one group")

    def over_batch(self, groups_P):
        self.calls.append(list(groups_P))
        places = iter(range(100))
        return [[float(next(places)) for _ in group.rollouts_G] for group in groups_P]


@dataclass
class Episodes:
    """An estimator over tokens that gives each token its reward."""

    needs_values: bool = False
    seen: list = field(default_factory=list)

    def over_tokens(self, episodes):
        self.seen += episodes
        return [TokenCredit(advantages_T=episode.rewards_T) for episode in episodes]


def credited(estimator, there=None, **parts):
    return asyncio.run(Credit(estimator=estimator, **parts)(there or groups(), VERSION))


def advantages_of(made):
    return [sample.advantage for sample in made.batch.samples]


def test_samples_come_problem_by_problem_in_the_order_of_their_groups():
    there = groups()
    made = credited(DrGrpo(), there)
    samples = made.batch.samples
    assert made.batch.version == VERSION
    rollouts = [rollout for group in there for rollout in group.rollouts_G]
    assert [sample.rollout for sample in samples] == rollouts
    assert [sample.problem for sample in samples] == [0] * 4 + [1] * 4
    assert [s.correct for s in samples] == [True, False, False, True, False, True, False, False]
    assert advantages_of(made) == [0.5, -0.5, -0.5, 0.5, -0.25, 0.75, -0.25, -0.25]
    assert all(
        sample.scores is sample.token_advantages_T is sample.returns_T is None for sample in samples
    )


def test_the_scorer_is_asked_once_about_all_rollouts_in_their_order():
    scorer, there = Scripted(), groups()
    made = credited(DrGrpo(), there, scorer=scorer)
    [(rollouts, version)] = scorer.asked
    assert version == VERSION
    assert rollouts == [sample.rollout for sample in made.batch.samples]
    for sample in made.batch.samples:
        token = sample.rollout.completion_ids_T[0]
        assert sample.scores.values_T[0] == 0.01 * token
        assert len(sample.scores.values_T) == len(sample.rollout.completion_ids_T)
    assert advantages_of(made) == advantages_of(credited(DrGrpo()))


def test_an_estimator_over_the_batch_is_asked_once_about_all_groups():
    estimator, there = Watched(), groups()
    made = credited(estimator, there)
    assert estimator.calls == [there]
    assert advantages_of(made) == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]


def test_what_a_problems_own_rollouts_decide_is_asked_group_by_group():
    asked = []

    def estimator(group):
        asked.append(group.problem.id)
        return [float(len(asked))] * len(group.rollouts_G)

    made = credited(estimator)
    assert asked == ["p0", "p1"]
    assert advantages_of(made) == [1.0] * 4 + [2.0] * 4


def test_credit_for_tokens_comes_with_returns_and_their_mean():
    # With both lambdas 1 the advantage is the reward less the value of that token.
    made = credited(Gae(lambda_actor=1.0), scorer=Scripted())
    rewards = [reward for row in REWARDS for reward in row]
    for sample, reward in zip(made.batch.samples, rewards, strict=True):
        tokens, value = len(sample.rollout.completion_ids_T), sample.scores.values_T[0]
        assert sample.token_advantages_T == pytest.approx([reward - value] * tokens)
        assert sample.returns_T == pytest.approx([reward] * tokens)
        assert sample.advantage == pytest.approx(reward - value)


def test_the_reward_of_an_episode_is_on_its_last_token():
    estimator = Episodes()
    credited(estimator)
    rows = [list(episode.rewards_T) for episode in estimator.seen]
    assert rows[:2] == [[0.0, 1.0], [0.0, 0.0, 0.0, 0.0]]
    assert [sum(row) for row in rows] == [reward for row in REWARDS for reward in row]
    assert [episode.problem for episode in estimator.seen] == [0] * 4 + [1] * 4
    assert all(episode.values_T is None for episode in estimator.seen)


def test_an_estimator_over_tokens_sees_the_values_of_prefixes():
    prefixes = (((0, 0.25), (1, 0.75)), (), ((0, 0.5),), ())
    there = [group(REWARDS[0], LENGTHS[0], prefixes=prefixes), groups()[1]]
    made = credited(StepMonteCarlo(), there)
    rows = [list(sample.token_advantages_T) for sample in made.batch.samples]
    assert rows[:4] == [[0.5, 0.25], [0.0] * 4, [-0.5], [0.0] * 3]
    assert not any(x for row in rows[4:] for x in row)
    assert all(sample.returns_T is None for sample in made.batch.samples)


@pytest.mark.parametrize("tokens", [1, 3])
def test_credit_for_another_number_of_tokens_is_refused(tokens):
    class Short(Episodes):
        def over_tokens(self, episodes):
            return [TokenCredit(advantages_T=[0.0] * tokens) for _ in episodes]

    with pytest.raises(ValueError, match=f"credit for {tokens} tokens of a completion of 2"):
        credited(Short(), [group([1.0, 0.0], [2, 2])])


def test_credit_of_tokens_is_kept_as_compact_as_it_can_be():
    made = credited(Gae(), scorer=Scripted())
    for sample in made.batch.samples:
        for numbers in (sample.token_advantages_T, sample.returns_T):
            assert isinstance(numbers, array)
            assert numbers.typecode == "d"
        assert pickle.loads(pickle.dumps(sample)) == sample


# While it is made


def test_other_tasks_go_on_while_credit_is_made():
    went_on = threading.Event()

    def estimator(group):
        assert went_on.wait(timeout=30)
        return [0.0] * len(group.rollouts_G)

    async def run():
        credit = asyncio.create_task(Credit(estimator=estimator)(groups(), VERSION))
        await asyncio.sleep(0.01)
        assert not credit.done()
        went_on.set()
        return await credit

    assert len(asyncio.run(run()).batch.samples) == 8


def test_an_estimator_that_runs_out_fails_the_step_and_does_not_hang_it():
    numbers = iter([0.0])

    async def run():
        credit = Credit(estimator=lambda group: [next(numbers) for _ in group.rollouts_G])
        return await asyncio.wait_for(credit(groups(), VERSION), timeout=30)

    with pytest.raises(RuntimeError, match="StopIteration"):
        asyncio.run(run())


# A penalty


def divergence(sample, logprob=-1.5) -> float:
    """k1 of each token of a sample, which all have the same."""
    return logprob - (-1.5 - 0.1 * sample.rollout.completion_ids_T[0])


def test_a_penalty_is_taken_off_the_reward_of_each_token():
    estimator = Episodes()
    made = credited(estimator, scorer=Scripted(), penalty=RewardKl(coef=0.2))
    rewards = [reward for row in REWARDS for reward in row]
    for sample, episode, reward in zip(made.batch.samples, estimator.seen, rewards, strict=True):
        expected = [-0.2 * divergence(sample)] * len(sample.rollout.completion_ids_T)
        expected[-1] += reward
        assert episode.rewards_T == pytest.approx(expected)


def test_a_penalty_is_taken_off_the_reward_of_a_rollout_as_the_sum_over_its_tokens():
    there = groups()
    made = credited(DrGrpo(), there, scorer=Scripted(), penalty=RewardKl(coef=0.2))
    samples = made.batch.samples
    for first, rewards in ((0, REWARDS[0]), (4, REWARDS[1])):
        mine = samples[first : first + 4]
        less = [
            reward - 0.2 * divergence(s) * len(s.rollout.completion_ids_T)
            for s, reward in zip(mine, rewards, strict=True)
        ]
        expected = [reward - sum(less) / 4 for reward in less]
        assert [sample.advantage for sample in mine] == pytest.approx(expected)
    # The verdicts keep what was judged, and whether it was right.
    assert there == groups()
    assert [s.correct for s in samples] == [s.correct for s in credited(DrGrpo()).batch.samples]


def test_a_batch_estimator_sees_rewards_less_penalties():
    estimator = Watched()
    made = credited(estimator, scorer=Scripted(), penalty=RewardKl(coef=0.5))
    [[first, _]] = estimator.calls
    sample = made.batch.samples[3]
    assert first.rewards_G[0] == 1.0
    assert first.rewards_G[3] == pytest.approx(1.0 - 0.5 * 3 * divergence(sample))


def test_without_proximal_logprobs_a_penalty_is_on_those_of_the_sampler():
    penalty = RewardKl(coef=0.2)
    made = credited(Reinforce(), scorer=Scripted(proximal=False), penalty=penalty)
    sample = made.batch.samples[1]
    assert sample.advantage == pytest.approx(-0.2 * 4 * divergence(sample, logprob=-1.0))


def test_a_penalty_is_reported_and_its_controller_told_once():
    penalty = RewardKl(coef=0.2, target=0.1, horizon=100)
    made = credited(Reinforce(), scorer=Scripted(), penalty=penalty)
    mean = sum(divergence(sample) for sample in made.batch.samples) / 8
    assert made.metrics["actor/reward_kl_penalty_coeff"] == 0.2
    assert made.metrics["actor/reward_kl_penalty"] == pytest.approx(mean)
    assert mean > 0.3
    assert penalty.coef == pytest.approx(0.2 * (1 + 0.2 * 8 / 100))


def test_a_penalty_of_nothing_changes_and_measures_nothing():
    made = credited(DrGrpo(), scorer=Scripted(), penalty=RewardKl(coef=0.0))
    assert advantages_of(made) == advantages_of(credited(DrGrpo()))
    assert made.metrics["actor/reward_kl_penalty_coeff"] == 0.0
    assert "actor/reward_kl_penalty" not in made.metrics


def test_a_penalty_without_a_scorer_is_refused():
    with pytest.raises(ValueError, match="scorer=None: give both"):
        Credit(estimator=DrGrpo(), penalty=RewardKl(coef=0.1))


def test_a_penalty_without_a_reference_is_refused():
    with pytest.raises(ValueError, match=r"gave none: set learner\.reference"):
        credited(DrGrpo(), scorer=Scripted(reference=False), penalty=RewardKl(coef=0.1))


# Pairs


def places(made):
    return [sample.rollout.completion_ids_T[0] for sample in made.batch.samples]


def test_a_pair_is_the_better_rollout_and_then_the_worse_one():
    made = credited(CorrectVersusWrong(limit=2), scorer=Scripted())
    assert places(made) == [0, 1, 3, 2, 11, 10]
    assert advantages_of(made) == [1.0, -1.0] * 3
    assert [sample.correct for sample in made.batch.samples] == [True, False] * 3
    assert [sample.problem for sample in made.batch.samples] == [0] * 4 + [1] * 2
    for sample in made.batch.samples:
        assert sample.scores.values_T[0] == 0.01 * sample.rollout.completion_ids_T[0]


def test_pairs_are_those_of_rewards_less_penalties():
    # Of the second problem's wrong rollouts the last one pays most.
    made = credited(CorrectVersusWrong(), scorer=Scripted(), penalty=RewardKl(coef=0.05))
    assert places(made) == [0, 1, 11, 13]
    assert places(credited(CorrectVersusWrong())) == [0, 1, 11, 10]


def test_only_rollouts_of_pairs_are_scored_each_once():
    scorer = Scripted()
    there = [group([1.0, 0.0, 0.0, 1.0], [2, 9, 4, 8]), groups()[1]]
    made = credited(ShortestVersusLonger(limit=2), there, scorer=scorer)
    assert places(made) == [0, 1, 0, 3, 11, 13, 11, 10]
    [(rollouts, _)] = scorer.asked
    assert [r.completion_ids_T[0] for r in rollouts] == [0, 1, 3, 10, 11, 13]
    for sample in made.batch.samples:
        assert sample.scores.values_T[0] == 0.01 * sample.rollout.completion_ids_T[0]


def test_a_batch_without_pairs_is_not_scored():
    scorer = Scripted()
    credited(CorrectVersusWrong(), [group([1.0, 1.0], [2, 2])], scorer=scorer)
    assert scorer.asked == []


def test_a_penalty_wants_the_scores_of_all_rollouts_before_there_are_pairs():
    scorer = Scripted()
    credited(CorrectVersusWrong(), scorer=scorer, penalty=RewardKl(coef=0.05))
    [(rollouts, _)] = scorer.asked
    assert len(rollouts) == 8


def test_a_group_without_a_pair_is_left_out():
    right = group([1.0, 1.0], [2, 2])
    made = credited(CorrectVersusWrong(), [right, groups()[1]])
    assert places(made) == [11, 10]
    assert [sample.problem for sample in made.batch.samples] == [1, 1]


def test_no_pairs_make_an_empty_batch():
    made = credited(CorrectVersusWrong(), [group([1.0, 1.0], [2, 2]), group([0.0], [3])])
    assert made.batch.samples == ()
    assert made.batch.version == VERSION
    assert made.metrics == {}


# State


def test_what_estimator_and_penalty_remember_is_carried_on():
    def credit():
        return Credit(
            estimator=ReinforceRunningMean(),
            scorer=Scripted(),
            penalty=RewardKl(coef=0.2, target=0.1, horizon=100),
        )

    one, other = credit(), credit()
    asyncio.run(one(groups(), VERSION))
    state = json.loads(json.dumps(one.state_dict()))
    assert state.keys() == {"advantage:ReinforceRunningMean", "reward_kl:RewardKl"}
    expected = asyncio.run(one(groups(), VERSION))
    assert advantages_of(asyncio.run(other(groups(), VERSION))) != advantages_of(expected)
    other.load_state_dict(state)
    found = asyncio.run(other(groups(), VERSION))
    assert advantages_of(found) == advantages_of(expected)
    assert found.metrics == expected.metrics
    assert other.state_dict() == one.state_dict()


def test_parts_that_remember_nothing_have_no_state():
    credit = Credit(estimator=DrGrpo())
    assert credit.state_dict() == {}
    credit.load_state_dict({})
    assert credit == Credit(estimator=DrGrpo())


@dataclass
class Remembering(Watched):
    """Another estimator with a state."""

    def state_dict(self):
        return {"calls": 0.0}

    def load_state_dict(self, state):
        raise AssertionError("given what is not its own")


@pytest.mark.parametrize(
    ("estimator", "penalty", "has"),
    [
        (Remembering(), None, "advantage:Remembering"),
        (DrGrpo(), None, "nothing"),
        (
            ReinforceRunningMean(),
            RewardKl(coef=0.2),
            "advantage:ReinforceRunningMean, reward_kl:RewardKl",
        ),
    ],
)
def test_the_state_of_other_parts_is_refused(estimator, penalty, has):
    written = Credit(estimator=ReinforceRunningMean())
    asyncio.run(written(groups(), VERSION))
    credit = Credit(estimator=estimator, penalty=penalty, scorer=Scripted())
    says = f"remembers advantage:ReinforceRunningMean, and this run has {has} to go on: .*resume"
    with pytest.raises(ValueError, match=says):
        credit.load_state_dict(written.state_dict())


def test_a_part_that_would_start_over_is_refused():
    with pytest.raises(ValueError, match="remembers nothing, and this run has advantage:Reinforce"):
        Credit(estimator=ReinforceRunningMean()).load_state_dict({})


# All of them

PREFIXES = tuple(((0, 0.25), (1, 0.5)) for _ in range(4))
ESTIMATORS = [
    BestOfGroup(),
    BestOfGroup(std="group"),
    CorrectVersusWrong(),
    DrGrpo(),
    Gae(),
    Gdpo(weights={"math": 1.0, "short": 0.5}),
    Gpg(),
    Grpo(),
    Grpo(std="batch"),
    Grpo(std="none"),
    Grpo(mean="batch", std="batch"),
    LengthAdaptiveGae(),
    MaxRl(),
    Mrt(),
    MrtProgress(alpha=0.2),
    Opo(),
    PassAtK(k=2),
    Pshw(),
    Reinforce(),
    ReinforceBatchMean(),
    ReinforcePp(),
    ReinforcePpBaseline(),
    ReinforceRunningMean(),
    Rloo(),
    ShortestVersusLonger(),
    StepMonteCarlo(),
]


def test_every_estimator_is_here():
    found = set()
    for module in pkgutil.iter_modules(advantages.__path__, "rlvr.advantages."):
        members = inspect.getmembers(importlib.import_module(module.name), inspect.isclass)
        found |= {
            member
            for _, member in members
            if is_dataclass(member) and member.__module__ == module.name
            if {"__call__", "over_tokens", "pairs"} & vars(member).keys()
        }
    assert {type(estimator) for estimator in ESTIMATORS} == found


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_every_estimator_makes_a_batch_that_trains_and_metrics_over_its_tokens(estimator):
    there = [replace(group, prefix_values_G=PREFIXES) for group in groups()]
    made = credited(estimator, there, scorer=Scripted())
    samples = made.batch.samples
    assert len(samples) == (4 if hasattr(estimator, "pairs") else 8)
    credit = [
        list(s.token_advantages_T or [s.advantage] * len(s.rollout.completion_ids_T))
        for s in samples
    ]
    for sample, row in zip(samples, credit, strict=True):
        assert len(row) == len(sample.rollout.completion_ids_T)
        assert sample.advantage == pytest.approx(sum(row) / len(row))
    tokens = [x for row in credit for x in row]
    assert max(tokens) > min(tokens)
    assert made.metrics == pytest.approx(
        {
            "critic/advantages/mean": sum(tokens) / len(tokens),
            "critic/advantages/max": max(tokens),
            "critic/advantages/min": min(tokens),
        }
    )


def test_every_metric_is_described():
    made = credited(DrGrpo(), scorer=Scripted(), penalty=RewardKl(coef=0.2))
    assert len(made.metrics) == 5
    assert [name for name in made.metrics if describe(name) is None] == []


@pytest.mark.parametrize("count", [3, 5])
def test_credit_for_another_number_of_rollouts_is_refused(count):
    with pytest.raises(ValueError, match="zip"):
        credited(lambda group: [0.0] * count, [group([1.0, 0.0, 0.0, 0.0], [1, 1, 1, 1])])


def test_a_rollout_that_was_cut_counts_in_its_group_and_does_not_train():
    whole = group([1.0, 0.0, 0.0], [2, 3, 4])
    cut = replace(whole.rollouts_G[1], finish=Finish.LENGTH)
    one = replace(whole, rollouts_G=(whole.rollouts_G[0], cut, whole.rollouts_G[2]))
    for masks, trains in ((True, [True, False, True]), (False, [True] * 3)):
        credit = Credit(estimator=DrGrpo(), mask_truncated=masks)
        samples = asyncio.run(credit([one], VERSION)).batch.samples
        assert [sample.trains for sample in samples] == trains
        assert [s.advantage for s in samples] == pytest.approx([2 / 3, -1 / 3, -1 / 3])
