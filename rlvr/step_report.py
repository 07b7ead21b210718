"""What a step of the loop says of its groups, and what to do where none may train."""

from __future__ import annotations

from rlvr.types import Finish, GradedGroup


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
