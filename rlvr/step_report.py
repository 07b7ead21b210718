"""What a step of the loop says of its verdicts and groups, and what to do where none may train."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field

from rlvr.metrics import Window
from rlvr.types import Finish, GradedGroup, Outcome

log = logging.getLogger(__name__)

FAILED = (Outcome.TIMEOUT, Outcome.ERROR)
_QUOTED = 3
"""Different details of failures that an alarm quotes."""
_QUOTED_LETTERS = 300


class GraderFailing(RuntimeError):
    """So many verdicts fail that what remains is no fair sample of the model."""


@dataclass(slots=True, kw_only=True)
class Verdicts:
    """The verdicts since the last step, counted and watched for a grader that fails."""

    max_failure_rate: float
    """Share that may be ``timeout`` or ``error``; from half of it on there is a warning."""
    per_step: int
    """As many are judged without waiting for the end of the step, which may not come."""
    _outcomes: Counter[Outcome] = field(default_factory=Counter[Outcome], init=False)
    _details: list[str] = field(default_factory=list[str], init=False)

    def add(self, group: GradedGroup, window: Window) -> None:
        """Count a group's verdicts and their parts.

        Raises:
            GraderFailing: of a step's worth of verdicts, too many failed.
        """
        for verdict in (*group.verdicts_G, *group.ungraded):
            self._outcomes[verdict.outcome] += 1
            window.total(f"rewards/{verdict.outcome}")
            for name, value in verdict.parts.items():
                window.mean(f"reward/part/{name}", value)
            if verdict.outcome in FAILED and len(self._details) < _QUOTED:
                detail = f"{verdict.outcome}: {verdict.detail[:_QUOTED_LETTERS] or 'no detail'}"
                if not any(detail in known for known in self._details):
                    self._details.append(f"{detail} (problem {group.problem.id!r})")
        if self._outcomes.total() >= self.per_step:
            self._refuse_failures()

    def take(self, step: int) -> dict[str, float]:
        """The share of each outcome, leaving none for the next step.

        Raises:
            GraderFailing: too many failed.
        """
        self._refuse_failures()
        total = self._outcomes.total()
        if self._failed() > self.max_failure_rate / 2 * total:
            log.warning("step %d, half way to where the run stops: %s", step, self._told())
        rates = {f"reward/rate/{o}": self._outcomes[o] / total for o in Outcome if total}
        self._outcomes.clear()
        self._details.clear()
        return rates

    def _failed(self) -> int:
        return sum(self._outcomes[outcome] for outcome in FAILED)

    def _refuse_failures(self) -> None:
        if self._failed() > self.max_failure_rate * self._outcomes.total():
            raise GraderFailing(self._told())

    def _told(self) -> str:
        failed, total = self._failed(), self._outcomes.total()
        slow = self._outcomes[Outcome.TIMEOUT]
        return (
            f"{failed} of {total} verdicts failed ({slow} timeouts, {failed - slow} errors); "
            f"reward_service.max_failure_rate={self.max_failure_rate:g}. First of them: "
            f"{'; '.join(self._details)}. "
            + (
                "Give the reward more time (reward_service.seconds) or fewer processes to share "
                "the cores with (reward_service.processes), or make it faster"
                if 2 * slow > failed
                else "Mend the reward; the reward workers' logs in the run folder say more"
            )
        )


def describe(groups_P: list[GradedGroup]) -> dict[str, float]:
    """Metrics of the groups of one batch."""
    rewards = [reward for group in groups_P for reward in group.rewards_G]
    rollouts = [rollout for group in groups_P for rollout in group.rollouts_G]
    lengths = [len(rollout.completion_ids_T) for rollout in rollouts]
    prompts = [len(rollout.prompt_ids) for rollout in rollouts]
    cut = sum(rollout.finish is Finish.LENGTH for rollout in rollouts)
    return {
        "critic/rewards/mean": sum(rewards) / len(rewards),
        "critic/rewards/max": max(rewards),
        "critic/rewards/min": min(rewards),
        "response_length/mean": sum(lengths) / len(lengths),
        "response_length/max": float(max(lengths)),
        "response_length/min": float(min(lengths)),
        "response_length/clip_ratio": cut / len(rollouts),
        "prompt_length/mean": sum(prompts) / len(prompts),
    }


def advice(reason: str) -> str:
    """What to do about a run in which one reason drops every group."""
    return {
        "too_easy": "The policy solves everything that it is given: add harder problems, or stop.",
        "too_hard": "The policy solves nothing that it is given: begin with easier problems or a "
        "stronger model, allow more tokens (sampling.max_tokens), or look at what the reward makes "
        "of right answers.",
        "ungraded": "The grader fails or abstains: look at rewards/timeout and rewards/error and "
        "at the reward workers' logs.",
    }.get(reason, "Widen the filter's band, or change the problems.")
