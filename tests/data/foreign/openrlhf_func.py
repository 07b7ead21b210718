"""As written for OpenRLHF: queries that begin with their prompts, arrays in a mapping."""

import numpy as np


def reward_func(queries, prompts, labels, **kwargs):
    responses = [query[len(prompt) :] for query, prompt in zip(queries, prompts, strict=True)]
    right = np.array([float(label in one) for one, label in zip(responses, labels, strict=True)])
    short = np.array([float(len(one) < 20) for one in responses])
    return {
        "rewards": 0.5 * right + 0.1 * short,
        "scores": right,
        "extra_logs": {"short": short, "accuracy": right.mean(), "odd": [1.0]},
    }


def bare(queries, prompts, labels):
    return np.zeros(len(queries))
