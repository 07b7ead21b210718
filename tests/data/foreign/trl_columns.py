"""As written for TRL: whole groups, columns of the data set, chats or texts."""

import numpy as np


def contents(completions):
    return [one if isinstance(one, str) else one[0]["content"] for one in completions]


def accuracy(completions, solution, log_extra=None, log_metric=None, **kwargs):
    rewards = [
        None if gold == "?" else float(gold in text)
        for text, gold in zip(contents(completions), solution, strict=True)
    ]
    log_extra("length", [len(text) for text in contents(completions)])
    log_extra("note", ["seen"] * len(rewards))
    log_metric("right", float(np.mean([reward or 0.0 for reward in rewards])))
    return rewards


async def shortest(prompts, completions, **kwargs):
    best = min(map(len, contents(completions)))
    return [float(len(text) == best) for text in contents(completions)]


def chats(completions, **kwargs):
    return [float("4" in one[0]["content"]) for one in completions]


def must_log(completions, log_metric):
    log_metric("calls", 1)
    return [1.0] * len(completions)


def by_tokens(completions, completion_ids, **kwargs):
    return [-0.001 * len(ids) for ids in completion_ids]


def by_progress(completions, trainer_state, **kwargs):
    return [trainer_state.global_step / 100] * len(completions)


def only_tokens(completion_ids, **kwargs):
    return [float(len(ids)) for ids in completion_ids]
