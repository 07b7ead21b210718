"""Probes of rollouts: where they start, what they cost, and what a group learns from them.

The engines write one token per character. An answer is right where the text ends in 4.
"""

import asyncio
from dataclasses import dataclass, field, replace
from itertools import compress

import pytest

from rlvr import plugin
from rlvr.advantages.mrt import Mrt
from rlvr.metrics import describe
from rlvr.probing import TIME_IS_UP, ContinuedPrefixes, ForcedAnswers, ProbedGrader
from rlvr.rollout.cuts import Lines, Paragraphs
from rlvr.rollout.engine import Sampling
from rlvr.rollout.pool import RolloutPool, sample_seed
from rlvr.rollout.scripted import ScriptedEngine
from rlvr.rollout.temperature import EntropyTarget
from rlvr.types import GradedGroup, Outcome, RolloutGroup, Verdict
from tests.conftest import problem, rollout, verdict

PROMPT = (1, 2)


class Characters:
    def pieces(self, ids):
        return [chr(id) for id in ids]

    def text(self, ids):
        return "".join(map(chr, ids))

    def ids(self, text):
        return tuple(map(ord, text))


class Near:
    """An engine in this process behind the contract of a remote one."""

    name = "rollout-0"

    def __init__(self, engine):
        self.engine = engine

    async def call(self, method, /, *args, phase, **kwargs):
        return await getattr(self.engine, method)(*args, **kwargs)


@dataclass
class Judge:
    """Fails on what ends in ``?`` and abstains on what ends in ``!``."""

    texts: list[str] = field(default_factory=list)

    async def grade(self, group):
        self.texts += [rollout.text for rollout in group.rollouts_G]
        verdicts = [self.verdict(rollout.text) for rollout in group.rollouts_G]
        graded = [v.outcome.is_graded for v in verdicts]
        return GradedGroup(
            problem=group.problem,
            rollouts_G=tuple(compress(group.rollouts_G, graded)),
            verdicts_G=tuple(compress(verdicts, graded)),
            ungraded=tuple(v for v in verdicts if not v.outcome.is_graded),
        )

    def verdict(self, text):
        if text.endswith("!"):
            return Verdict(outcome=Outcome.ABSTAIN, reward=None)
        return verdict(None if text.endswith("?") else float(text.endswith("4")))


def wrote(text, version=0):
    return rollout(text, completion_ids_T=tuple(map(ord, text)), tokens=len(text), version=version)


def written(*texts, version=0):
    return RolloutGroup(
        problem=problem("p/7"), rollouts_G=tuple(wrote(text, version) for text in texts)
    )


def begins(prompt_ids):
    """What a completion begins with, of which an engine is asked for more."""
    assert prompt_ids[:2] == PROMPT
    return "".join(map(chr, prompt_ids[2:]))


def prober(
    script,
    probe=None,
    *,
    judge=None,
    grader=None,
    max_tokens=20,
    engine=None,
    temperature=None,
    concurrency=64,
):
    """The grader, its engine and its judge. ``script`` is from a prefix and a seed to the rest."""
    engine = engine or ScriptedEngine(lambda prompt, seed: script(begins(prompt), seed))
    judge = judge or Judge()
    pool = RolloutPool(
        [Near(engine)],
        sampling=Sampling(max_tokens=max_tokens),
        seed=5,
        render=lambda problem: PROMPT,
        temperature=temperature,
    )
    probed = ProbedGrader(
        grader=grader or Judge(),
        judge=judge,
        rollouts=pool,
        token_text=Characters(),
        max_tokens=max_tokens,
        probe=probe or ContinuedPrefixes(samples=4),
        concurrency=concurrency,
    )
    return probed, engine, judge


def grade(probed, group):
    async def bounded():
        return await asyncio.wait_for(probed.grade(group), timeout=20)

    return asyncio.run(bounded())


def always(**rest):
    """From the last letter of a prefix to what follows it, whatever the seed."""
    return lambda prefix, seed: rest.get(prefix.strip()[-1:], "4")


def test_each_prefix_gets_the_mean_reward_of_what_goes_on_from_it():
    def script(prefix, seed):
        return {"": "45"[seed % 2], "a\n": "4", "a\nb\n": "5", "c\n": "554"[seed % 3]}[prefix]

    probed, _, _ = prober(script)
    graded = grade(probed, written("a\nb\n5", "c\n4"))

    def seeds(key):
        return [sample_seed(5, "p/7", f"probe/{key}", sample) for sample in range(4)]

    bare = sum(seed % 2 == 0 for seed in seeds("0/0/0")) / 4
    third = sum(seed % 3 == 2 for seed in seeds("0/1/2")) / 4
    assert graded.prefix_values_G == (
        ((0, bare), (2, 1.0), (4, 0.0)),
        ((0, bare), (2, third)),
    )
    assert 0 < bare < 1 and 0 < third < 1
    assert graded.rewards_G == (0.0, 1.0)


def test_seeds_tell_rollout_cut_sample_and_weights_apart():
    probed, engine, _ = prober(always())
    grade(probed, written("a\n5", "b\n4", version=3))
    assert dict(engine.calls) == {
        (*PROMPT, *map(ord, prefix)): tuple(sample_seed(5, "p/7", key, s) for s in range(4))
        for prefix, key in {"": "probe/3/0/0", "a\n": "probe/3/0/2", "b\n": "probe/3/1/2"}.items()
    }
    drawn = [seed for _, seeds in engine.calls for seed in seeds]
    assert len(set(drawn)) == len(drawn) == 12


def test_equal_prefixes_are_probed_once():
    probed, engine, _ = prober(always())
    graded = grade(probed, written("a\n5", "a\n4", "a\nb\n4"))
    assert sorted(begins(prompt) for prompt, _ in engine.calls) == ["", "a\n", "a\nb\n"]
    assert [[cut for cut, _ in values] for values in graded.prefix_values_G] == [
        [0, 2],
        [0, 2],
        [0, 2, 4],
    ]


def test_a_rollout_is_cut_into_at_most_so_many_episodes():
    probed, engine, _ = prober(always(), ContinuedPrefixes(cuts=2))
    graded = grade(probed, written("a\nb\nc\nd\n5", "4"))
    assert [[cut for cut, _ in values] for values in graded.prefix_values_G] == [[0, 4], [0]]
    assert len(engine.calls) == 2


@pytest.mark.parametrize("last", "45")
def test_a_group_of_equal_rewards_costs_nothing_and_gets_no_credit(last):
    probed, engine, judge = prober(always())
    graded = grade(probed, written(f"a\n{last}", f"b\n{last}"))
    assert graded.prefix_values_G == (((0, float(last == "4")),),) * 2
    assert list(Mrt()(graded)) == [0.0, 0.0]
    assert not engine.calls and not judge.texts and probed.take() == {}


def test_a_group_without_any_verdict_stays_as_it_is():
    probed, engine, _ = prober(always())
    graded = grade(probed, written("a\n?", "b\n!"))
    assert graded.rollouts_G == graded.prefix_values_G == () and len(graded.ungraded) == 2
    assert not engine.calls


def test_rollouts_without_a_verdict_are_not_probed():
    probed, engine, _ = prober(always())
    graded = grade(probed, written("a\n?", "b\n4", "c\n5"))
    assert len(graded.prefix_values_G) == len(graded.rollouts_G) == 2
    assert sorted(begins(prompt) for prompt, _ in engine.calls) == ["", "b\n", "c\n"]


def test_a_verdict_that_fails_or_abstains_leaves_the_mean():
    answers = iter("4?5!")
    probed, _, _ = prober(lambda prefix, seed: "4" if prefix != "a\n" else next(answers))
    graded = grade(probed, written("a\n5", "4"))
    assert graded.prefix_values_G[0] == ((0, 1.0), (2, 0.5))


def test_a_prefix_whose_verdicts_all_fail_is_left_out_and_is_no_zero():
    probed, _, _ = prober(always(a="?", b="5"))
    graded = grade(probed, written("a\nb\n5", "4"))
    assert graded.prefix_values_G[0] == ((0, 1.0), (4, 0.0))
    assert probed.take()["probe/left_out"] == 1


def test_the_mean_of_its_group_stands_alone_for_a_bare_prompt_that_has_no_verdict():
    probed, _, _ = prober(lambda prefix, seed: "4" if prefix else "?")
    graded = grade(probed, written("a\n5", "b\n4", "4", "5"))
    assert graded.prefix_values_G == (((0, 0.5),),) * 4


def test_probes_are_judged_without_what_shapes_the_rewards_of_rollouts():
    class Shaped(Judge):
        async def grade(self, group):
            graded = await super().grade(group)
            verdicts = (replace(v, reward=v.reward - 0.25) for v in graded.verdicts_G)
            return replace(graded, verdicts_G=tuple(verdicts))

    probed, _, judge = prober(always(a="5"), grader=Shaped())
    graded = grade(probed, written("a\n5", "b\n4"))
    assert graded.rewards_G == (-0.25, 0.75)
    assert graded.prefix_values_G == (((0, 1.0), (2, 0.0)), ((0, 1.0), (2, 1.0)))
    assert sorted(set(judge.texts)) == ["4", "a\n5", "b\n4"]


@pytest.mark.parametrize(("max_tokens", "limit"), [(None, 8), (3, 3), (99, 8)])
def test_a_prefix_and_its_continuation_share_the_tokens_of_a_rollout(max_tokens, limit):
    probed, _, judge = prober(
        lambda prefix, seed: "x" * 99, ContinuedPrefixes(max_tokens=max_tokens), max_tokens=10
    )
    grade(probed, written("a\n5", "4"))
    longest = max_tokens if max_tokens == 3 else 10
    assert sorted(set(judge.texts), key=len) == sorted(
        {"x" * longest, "a\n" + "x" * limit}, key=len
    )


def test_an_answer_is_forced_behind_the_thought_and_its_text_is_whole():
    probe = ForcedAnswers(samples=2, text="\nStop.</think>", boundaries=[Lines()])
    probed, _, judge = prober(lambda prefix, seed: "4", probe, max_tokens=99)
    graded = grade(probed, written("a\nb.</think>\nso\n4", "5"))
    assert graded.prefix_values_G == (((0, 1.0), (2, 1.0), (4, 1.0)), ((0, 1.0),))
    assert sorted(judge.texts) == sorted(
        2
        * [
            "\nStop.</think>4",
            "a\n\nStop.</think>4",
            "a\nb.\n\n\nStop.</think>4",
        ]
    )


def test_an_engine_is_given_the_forced_text_as_tokens():
    probed, engine, judge = prober(always(), ForcedAnswers(), max_tokens=999)
    grade(probed, written("a\n\nb\n\n5", "4"))
    assert sorted(begins(prompt) for prompt, _ in engine.calls) == sorted(
        prefix + TIME_IS_UP for prefix in ("", "a\n\n", "a\n\nb\n\n")
    )
    assert set(judge.texts) == {begins(prompt) + "4" for prompt, _ in engine.calls}


def test_a_prefix_is_not_probed_where_the_forced_text_leaves_no_token():
    probe = ForcedAnswers(text="Stop", boundaries=[Lines()])
    probed, engine, _ = prober(always(), probe, max_tokens=8)
    graded = grade(probed, written("a\nb\n5", "4"))
    assert graded.prefix_values_G == (((0, 1.0), (2, 1.0)), ((0, 1.0),))
    assert probed.take()["probe/left_out"] == 1
    assert max(len(prompt) for prompt, _ in engine.calls) == 2 + 2 + len("Stop")


def test_a_thought_that_is_empty_or_never_ends_is_cut_as_far_as_it_goes():
    probe = ForcedAnswers(boundaries=[Lines()])
    assert probe.prefixes(list("\n</think>\na\n4")) == [0]
    assert probe.prefixes(list("a\nb")) == [0, 2]
    assert probe.prefixes(["a\n", "b\n", "c", "</think>", "d\n", "4"]) == [0, 1, 2, 3]


def test_a_forced_text_that_takes_all_tokens_is_refused():
    with pytest.raises(ValueError, match=r"writes 6 tokens .*max_tokens=6, .* shorten probe\.text"):
        prober(always(), ForcedAnswers(text="Time's"), max_tokens=6)


def test_all_probes_of_a_group_are_in_flight_together():
    async def run():
        together = asyncio.Barrier(4)

        class Waiting(ScriptedEngine):
            async def generate(self, prompt_ids, **rest):
                await together.wait()
                return await super().generate(prompt_ids, **rest)

        probed, _, _ = prober(None, engine=Waiting(lambda prompt, seed: "4"))
        return await asyncio.wait_for(probed.grade(written("a\nb\n5", "c\n4")), timeout=10)

    assert len(asyncio.run(run()).prefix_values_G[0]) == 3


def test_no_more_probes_are_in_flight_than_allowed_and_all_get_their_turn():
    flying, most = 0, 0

    class Counting(ScriptedEngine):
        async def generate(self, prompt_ids, **rest):
            nonlocal flying, most
            flying += 1
            most = max(most, flying)
            await asyncio.sleep(0)
            flying -= 1
            return await super().generate(prompt_ids, **rest)

    engine = Counting(lambda prompt, seed: "4")
    probed, _, _ = prober(None, engine=engine, concurrency=3)

    async def two_groups():
        return await asyncio.gather(
            *(probed.grade(written("a\nb\n5", "c\nd\n4", version=v)) for v in range(2))
        )

    for graded in asyncio.run(asyncio.wait_for(two_groups(), timeout=20)):
        assert [len(values) for values in graded.prefix_values_G] == [3, 3]
    assert (most, len(engine.calls)) == (3, 10)


def test_a_probe_that_fails_gives_its_place_to_another():
    class FailingOnce(ScriptedEngine):
        async def generate(self, prompt_ids, **rest):
            if not self.calls:
                self.calls.append(None)
                raise RuntimeError("engine died")
            return await super().generate(prompt_ids, **rest)

    probed, _, _ = prober(None, engine=FailingOnce(lambda prompt, seed: "4"), concurrency=1)
    with pytest.raises(ExceptionGroup):
        grade(probed, written("a\n5", "4"))
    assert len(grade(probed, written("a\n5", "4")).prefix_values_G[0]) == 2


def test_probes_that_may_never_fly_are_refused():
    with pytest.raises(ValueError, match=r"concurrency=0: .* at least 1"):
        prober(always(), concurrency=0)


def test_probes_are_drawn_at_the_temperature_that_rollouts_have_by_then():
    drawn = []

    class Listening(ScriptedEngine):
        async def generate(self, prompt_ids, *, sampling, seeds):
            drawn.append((sampling.temperature, sampling.max_tokens))
            return await super().generate(prompt_ids, sampling=sampling, seeds=seeds)

    control = EntropyTarget(target=0.3, rate=0.5)
    probed, _, _ = prober(
        None, engine=Listening(lambda prompt, seed: "4"), temperature=control, max_tokens=10
    )
    grade(probed, written("a\n5", "4"))
    assert sorted(drawn) == [(1.0, 8), (1.0, 10)]
    control.observe({"actor/entropy": 0.6})
    drawn.clear()
    grade(probed, written("a\n5", "4"))
    assert {temperature for temperature, _ in drawn} == {control.temperature}
    assert control.temperature < 0.7


def test_what_an_engine_raises_ends_the_grading_and_the_other_probes():
    ended = []

    class Failing(ScriptedEngine):
        async def generate(self, prompt_ids, **rest):
            if begins(tuple(prompt_ids)) == "a\n":
                raise RuntimeError("engine died")
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                ended.append(prompt_ids)
                raise

    probed, _, _ = prober(None, engine=Failing(always()))
    with pytest.raises(ExceptionGroup) as caught:
        grade(probed, written("a\n5", "b\n4"))
    assert [str(error) for error in caught.value.exceptions] == ["engine died"]
    assert len(ended) == 2


def test_what_probing_took_is_told_once_and_described():
    answers = iter("4?5!")
    probed, _, _ = prober(lambda prefix, seed: "44" if prefix != "a\n" else next(answers))
    grade(probed, written("a\n5", "4"))
    taken = probed.take()
    assert taken == {
        "probe/prefixes": 2,
        "probe/samples": 8,
        "probe/tokens": 12,
        "probe/ungraded": 2,
        "probe/left_out": 0,
        "probe/success_rate": 0.75,
    }
    assert all(describe(key) is not None for key in taken)
    assert probed.take() == {}


def test_a_node_names_its_boundaries():
    node = {
        "_target_": "rlvr.probing.ContinuedPrefixes",
        "cuts": 3,
        "boundaries": [{"_target_": "rlvr.rollout.cuts.Paragraphs"}],
    }
    made = plugin.build(node)
    assert (made.samples, made.cuts, list(made.boundaries)) == (4, 3, [Paragraphs()])
    assert plugin.build({"_target_": "rlvr.probing.ForcedAnswers"}) == ForcedAnswers()


@pytest.mark.parametrize("probe", [ContinuedPrefixes, ForcedAnswers])
@pytest.mark.parametrize(
    "wrong",
    [
        {"samples": 0},
        {"samples": 2.0},
        {"cuts": 0},
        {"cuts": float("nan")},
        {"max_tokens": 0},
        {"max_tokens": True},
        {"boundaries": ()},
        {"boundaries": ["Lines"]},
    ],
)
def test_what_would_probe_nothing_is_refused_by_name(probe, wrong):
    with pytest.raises(ValueError, match=f"^{next(iter(wrong))}=.*(use|give)"):
        probe(**wrong)


@pytest.mark.parametrize("name", ["text", "thought_end"])
def test_an_answer_is_not_forced_by_nothing(name):
    with pytest.raises(ValueError, match=f"{name}='': .*take ContinuedPrefixes"):
        ForcedAnswers(**{name: ""})
