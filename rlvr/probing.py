"""What the policy makes of the beginnings of its rollouts, for credit that tells steps apart.

    graded group -> cuts -> continuations -> verdicts -> the group with a value for each cut

A probe is sampled and judged as a rollout is, but never trained on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from rlvr.metrics import Window
from rlvr.rollout.cuts import (
    Boundaries,
    Lines,
    Paragraphs,
    Reconsiderations,
    prefixes,
    tokens_before,
)
from rlvr.types import GradedGroup, PrefixValues, Problem, Rollout, RolloutGroup

TIME_IS_UP = (
    "Time is up.\n\n"
    "Given the time I've spent and the approaches I've tried, I should stop thinking and formulate "
    "a final answer based on what I already have.\n</think>\n\n"
    "**Step-by-Step Explanation and Answer:**\n\n1. **"
)
"""What makes a reasoning model answer at once, as in the code of MRT (arXiv:2503.07572)."""


class Rollouts(Protocol):
    async def generate(
        self,
        problem: Problem,
        *,
        n: int,
        epoch_key: str,
        max_tokens: int,
        prefix_ids: Sequence[int],
    ) -> RolloutGroup:
        """Drawn as rollouts are at the time, but for the limit."""
        ...


class Grader(Protocol):
    async def grade(self, group: RolloutGroup) -> GradedGroup: ...


class TokenText(Protocol):
    """See ``rlvr.rollout.token_text``."""

    def pieces(self, ids: Sequence[int]) -> Sequence[str]: ...

    def text(self, ids: Sequence[int]) -> str: ...

    def ids(self, text: str) -> tuple[int, ...]: ...


class Probe(Protocol):
    """Where rollouts are cut, and how they go on from there."""

    @property
    def samples(self) -> int:
        """Continuations of each prefix."""
        ...

    @property
    def max_tokens(self) -> int | None:
        """Of one continuation; None sets no limit of its own."""
        ...

    def prefixes(self, pieces: Sequence[str]) -> Sequence[int]:
        """Tokens in each prefix of a completion, ascending, the first 0; ``pieces`` are the texts
        of its tokens."""
        ...

    def ending(self, text: str) -> str:
        """What is written behind a prefix that reads ``text``, before the policy goes on."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ContinuedPrefixes:
    """The policy goes on from the prefix as if it had written it just now.

    The value is its success rate from there, the Q of VinePPO (arXiv:2410.01679) and of RL on
    incorrect synthetic data (arXiv:2406.14532).

    Raises:
        ValueError: a setting with which nothing would be probed.
    """

    samples: int = 4
    cuts: int = 4
    """Episodes of a rollout at most; each holds one step or more."""
    max_tokens: int | None = None
    boundaries: Sequence[Boundaries] = (Lines(),)
    """Each finds ends of steps; all of them count."""

    def __post_init__(self) -> None:
        _refuse_nothing(self.samples, self.cuts, self.max_tokens, self.boundaries)

    def prefixes(self, pieces: Sequence[str]) -> Sequence[int]:
        return prefixes(pieces, self.boundaries, self.cuts)

    def ending(self, text: str) -> str:
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForcedAnswers:
    """The policy is made to answer with what it has thought so far.

    The value is J of MRT (arXiv:2503.07572). Cuts lie in the thought alone, and its end is one of
    them; a completion without such an end is all thought.

    Raises:
        ValueError: a setting with which nothing would be probed.
    """

    samples: int = 4
    cuts: int = 4
    """Episodes of a thought at most; each holds one step or more."""
    max_tokens: int | None = None
    boundaries: Sequence[Boundaries] = (Paragraphs(), Reconsiderations())
    """Each finds ends of steps; all of them count."""
    text: str = TIME_IS_UP
    """Ends the thought and begins the answer."""
    thought_end: str = "</think>"

    def __post_init__(self) -> None:
        _refuse_nothing(self.samples, self.cuts, self.max_tokens, self.boundaries)
        for name in ("text", "thought_end"):
            if not getattr(self, name):
                raise ValueError(
                    f"{name}='': without it nothing ends a thought; give the text that does, or "
                    "take ContinuedPrefixes"
                )

    def prefixes(self, pieces: Sequence[str]) -> Sequence[int]:
        tokens = tokens_before(self.thought_end, pieces)
        if tokens is None:
            return prefixes(pieces, self.boundaries, self.cuts)
        thought = pieces[:tokens]
        found = prefixes(thought, self.boundaries, self.cuts)
        return [*found, tokens] if "".join(thought).strip() else found

    def ending(self, text: str) -> str:
        return self.text if not text or text.endswith("\n") else f"\n\n{self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbedGrader:
    """Grades, then fills in ``prefix_values_G``: for each prefix, the mean reward of ``samples``
    completions that begin with it.

    With rewards of 1 and 0 that is a success rate. A verdict that failed or abstained leaves the
    mean, and a prefix without any verdict is left out. Equal prefixes of one problem are probed
    once, so the bare prompt is.

    A group whose rewards are all equal is not probed. Its bare prompt gets that reward for a value,
    which leaves no credit to give. In the same way the mean reward of its group stands alone for a
    bare prompt that could not be probed.

    Raises:
        ValueError: nothing could be probed, as what is written behind a prefix takes all tokens, or
            as none may be in flight.
    """

    grader: Grader
    """Of rollouts, as training sees them."""
    judge: Grader
    """Of probes, on the same scale: credit is the difference between its rewards and the grader's.
    It does not shape them, for the tokens of a probe are not those of a rollout."""
    rollouts: Rollouts
    token_text: TokenText
    max_tokens: int
    """Of a rollout; a prefix, what is written behind it and a continuation share them."""
    probe: Probe
    concurrency: int = 64
    """Prefixes that engines go on from at a time. A step may have thousands; what an engine has
    taken on comes before new rollouts, and may come before new weights."""
    _window: Window = field(default_factory=Window, init=False)
    _gate: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        written = len(self.token_text.ids(self.probe.ending("")))
        if written >= self.max_tokens:
            raise ValueError(
                f"probe: it writes {written} tokens and sampling.max_tokens={self.max_tokens}, so "
                "none is left for an answer; raise that, or shorten probe.text"
            )
        if not self.concurrency >= 1:
            raise ValueError(
                f"concurrency={self.concurrency}: probing would wait forever; take at least 1"
            )
        object.__setattr__(self, "_gate", asyncio.Semaphore(self.concurrency))

    async def grade(self, group: RolloutGroup) -> GradedGroup:
        """As the grader does, with the values of prefixes where rewards differ.

        Raises:
            ExceptionGroup: what the engines or the judge raised; the other probes are cancelled.
        """
        graded = await self.grader.grade(group)
        if not graded.rewards_G:
            return graded
        if len(set(graded.rewards_G)) == 1:
            return _unprobed(graded, graded.rewards_G[0])
        cuts_G = [
            self.probe.prefixes(self.token_text.pieces(rollout.completion_ids_T))
            for rollout in graded.rollouts_G
        ]
        values = await self._values(graded, cuts_G)
        if values[()] is None:
            return _unprobed(graded, graded.mean_reward)
        return replace(
            graded,
            prefix_values_G=tuple(
                _known(rollout, cuts, values)
                for rollout, cuts in zip(graded.rollouts_G, cuts_G, strict=True)
            ),
        )

    def take(self) -> dict[str, float]:
        """What probing took and found since this was last asked; see ``rlvr.metrics``."""
        return self._window.drain()

    async def _values(
        self, group: GradedGroup, cuts_G: Sequence[Sequence[int]]
    ) -> dict[tuple[int, ...], float | None]:
        """Of every prefix by its tokens."""
        tasks: dict[tuple[int, ...], asyncio.Task[float | None]] = {}
        async with asyncio.TaskGroup() as probing:
            for index, (rollout, cuts) in enumerate(zip(group.rollouts_G, cuts_G, strict=True)):
                for cut in cuts:
                    prefix_ids = rollout.completion_ids_T[:cut]
                    if prefix_ids not in tasks:
                        # Visits of one problem differ in the weights that answer.
                        key = f"probe/{group.version}/{index}/{cut}"
                        tasks[prefix_ids] = probing.create_task(
                            self._value(group.problem, prefix_ids, key)
                        )
        return {prefix_ids: task.result() for prefix_ids, task in tasks.items()}

    async def _value(
        self, problem: Problem, prefix_ids: tuple[int, ...], epoch_key: str
    ) -> float | None:
        """Mean reward from a prefix on; None where there is no room or no verdict."""
        text = self.token_text.text(prefix_ids)
        ending = self.probe.ending(text)
        begun = prefix_ids + (self.token_text.ids(ending) if ending else ())
        room = self.max_tokens - len(begun)
        self._window.total("probe/left_out", room < 1)
        if room < 1:
            return None
        limit = room if self.probe.max_tokens is None else min(room, self.probe.max_tokens)
        async with self._gate:  # each of its holders has the bound of its call
            sampled = await self.rollouts.generate(
                problem,
                n=self.probe.samples,
                epoch_key=epoch_key,
                max_tokens=limit,
                prefix_ids=begun,
            )
        whole = replace(
            sampled,
            rollouts_G=tuple(
                replace(rollout, text=text + ending + rollout.text)
                for rollout in sampled.rollouts_G
            ),
        )
        graded = await self.judge.grade(whole)
        self._count(whole, graded)
        return graded.mean_reward if graded.rewards_G else None

    def _count(self, sampled: RolloutGroup, graded: GradedGroup) -> None:
        tokens = sum(len(rollout.completion_ids_T) for rollout in sampled.rollouts_G)
        self._window.total("probe/prefixes")
        self._window.total("probe/samples", len(sampled.rollouts_G))
        self._window.total("probe/tokens", tokens)
        self._window.total("probe/ungraded", len(graded.ungraded))
        self._window.total("probe/left_out", not graded.rewards_G)
        if graded.rewards_G:
            self._window.mean("probe/success_rate", graded.mean_reward)


def _known(
    rollout: Rollout, cuts: Sequence[int], values: Mapping[tuple[int, ...], float | None]
) -> PrefixValues:
    found = [(cut, values[rollout.completion_ids_T[:cut]]) for cut in cuts]
    return tuple((cut, value) for cut, value in found if value is not None)


def _unprobed(group: GradedGroup, value: float) -> GradedGroup:
    """With ``value`` for its bare prompt and nothing else."""
    return replace(group, prefix_values_G=(((0, value),),) * len(group.rollouts_G))


def _refuse_nothing(
    samples: int, cuts: int, max_tokens: int | None, boundaries: Sequence[Boundaries]
) -> None:
    for name, value, such_as in (("samples", samples, 4), ("cuts", cuts, 4)):
        if type(value) is not int or value < 1:
            raise ValueError(
                f"{name}={value!r}: nothing would be probed; use a whole number of at least 1, "
                f"such as {such_as}"
            )
    if max_tokens is not None and (type(max_tokens) is not int or max_tokens < 1):
        raise ValueError(
            f"max_tokens={max_tokens!r}: no continuation would have a token; use a whole number of "
            "at least 1, or null for what sampling.max_tokens leaves"
        )
    if not boundaries or not all(map(callable, boundaries)):
        raise ValueError(
            f"boundaries={boundaries!r}: they say where a step ends; give at least one, such as "
            "{_target_: rlvr.rollout.cuts.Lines}"
        )
