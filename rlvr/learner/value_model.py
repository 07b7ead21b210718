"""The critic's model: the trunk of a causal language model under one number per token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from rlvr.learner.model import load_policy


class ValueHead(nn.Linear):
    """Hidden states ``[T, H]`` to values ``[T]``, in fp32 whatever the type of its weight.

    A module of its own, so that ZeRO-3 gathers its weight just around it.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size, 1)
        # From random weights the first advantages would be noise.
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        # Values are compared with each other: bf16 tells 0.50 from 0.51 only just.
        hidden_TH, weight_1H = input.float(), self.weight.float()
        return functional.linear(hidden_TH, weight_1H, self.bias.float()).squeeze(-1)


class ValueModel(nn.Module):
    """What a rollout is expected to be worth, before each of its tokens is drawn."""

    def __init__(self, trunk: PreTrainedModel) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = ValueHead(trunk.config.hidden_size)

    def forward(
        self, token_ids_RS: Tensor, position_ids_RS: Tensor | None, sources_T: Tensor
    ) -> Tensor:
        """Values ``[T]`` (float32, in units of reward) at the positions that predict the tokens.

        A token's value knows the tokens before it and not the token itself, as a baseline must.
        There is no attention mask, for the reasons that ``PolicyModel`` gives.
        """
        trunk = cast(Callable[..., Any], self.trunk)
        hidden_RSH = cast(
            Tensor,
            trunk(
                input_ids=token_ids_RS, position_ids=position_ids_RS, use_cache=False
            ).last_hidden_state,
        )
        return self.head(hidden_RSH.flatten(0, 1).index_select(0, sources_T))


def load_value_model(
    model: str, *, dtype: torch.dtype, attention: str, activation_checkpointing: bool
) -> ValueModel:
    """A value model whose trunk has the weights of a Hugging Face directory or name.

    It computes as a policy does, without dropout; its values start at 0.
    """
    policy = load_policy(
        model,
        dtype=dtype,
        attention=attention,
        chunk=1,
        activation_checkpointing=activation_checkpointing,
    )
    return ValueModel(cast(PreTrainedModel, policy.language_model.base_model))
