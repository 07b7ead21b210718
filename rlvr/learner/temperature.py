"""Sampling temperature and entropy: what one makes of the other."""

from __future__ import annotations

import math

import torch
from torch import Tensor

HALVINGS = 200
"""More than float64 can tell apart, so the search ends by its own precision."""


def temperature_adjusted_entropy(logits_TV: Tensor, temperature: float) -> Tensor:
    """Entropy ``[T]`` (nats) of softmax(logits / temperature) over the last dimension."""
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature={temperature}: logits are divided by it; take more than 0")
    probabilities_TV = torch.softmax(logits_TV / temperature, dim=-1)
    # 0 log 0 is 0 here, as of a token that is ruled out.
    return -torch.xlogy(probabilities_TV, probabilities_TV).sum(dim=-1)


def temperature_for_entropy(
    logits_TV: Tensor, target: float, *, low: float = 1e-3, high: float = 1e3
) -> float:
    """The temperature at which the mean entropy of softmax(logits / temperature) is ``target``.

    Such as 0.3 nats, which balances exploring and exploiting (AceReason-Nemotron 1.1,
    arXiv:2506.13284). Bisection in float64 over the logarithm of the temperature, along which the
    entropy never falls.

    Raises:
        ValueError: no temperature within [low, high] gives that entropy, or they are no bounds.
    """
    if not 0 < low < high < math.inf:
        raise ValueError(f"low={low}, high={high}: take 0 < low < high")
    logits_TV = logits_TV.detach().double()

    def entropy(temperature: float) -> float:
        return temperature_adjusted_entropy(logits_TV, temperature).mean().item()

    least, most = entropy(low), entropy(high)
    if not least <= target <= most:
        raise ValueError(
            f"target={target}: temperatures from {low} to {high} give these logits a mean entropy "
            f"of {least:.4g} to {most:.4g} nats; take a target in between, or wider bounds"
        )
    colder, hotter = math.log(low), math.log(high)
    for _ in range(HALVINGS):
        middle = (colder + hotter) / 2
        if not colder < middle < hotter:
            break
        if entropy(math.exp(middle)) < target:
            colder = middle
        else:
            hotter = middle
    return math.exp(hotter)
