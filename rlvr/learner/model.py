"""The policy: a causal language model of transformers under the fused head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from rlvr.kernels.head import TokenLoss, Totals, fused_head, logprobs
from rlvr.kernels.sequences import fused_head_of_sequences

HEAD_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.25}
"""Largest difference in logits between the model's own head and the fused one."""
PACKING_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.1}
"""Largest mean difference (nats) that another sequence in the row may make to log-probs."""


class Head(nn.Module):
    """The fused head as a module of its own, so that ZeRO-3 gathers its weight just around it."""

    def __init__(self, weight_VH: nn.Parameter, *, chunk: int) -> None:
        super().__init__()
        # In a tuple, for the parameter belongs to the language model and must be listed once.
        self._weight = (weight_VH,)
        self._chunk = chunk

    @property
    def weight_VH(self) -> nn.Parameter:
        return self._weight[0]

    def forward(
        self,
        hidden_TH: Tensor,
        targets_T: Tensor,
        token_loss: TokenLoss | None,
        temperature_T: Tensor | float,
        whole_sequences: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Totals]:
        if token_loss is None:
            logprobs_T, entropy_T = logprobs(
                hidden_TH, self.weight_VH, targets_T, temperature=temperature_T, chunk=self._chunk
            )
            return logprobs_T.new_zeros(()), logprobs_T, entropy_T, {}
        head = fused_head_of_sequences if whole_sequences else fused_head
        output = head(
            hidden_TH,
            self.weight_VH,
            targets_T,
            token_loss,
            temperature=temperature_T,
            chunk=self._chunk,
        )
        # A plain tuple: DeepSpeed looks for tensors in nothing else, and would not gather the
        # weight again for the backward pass.
        return output.loss, output.logprobs_T, output.entropy_T, output.metrics


class PolicyModel(nn.Module):
    """Hidden states from ``language_model``'s trunk, at the asked positions only, to the head."""

    def __init__(self, language_model: PreTrainedModel, *, chunk: int = 1024) -> None:
        super().__init__()
        self.language_model = language_model
        self.head = Head(_head_weight(language_model), chunk=chunk)

    def forward(
        self,
        token_ids_RS: Tensor,
        position_ids_RS: Tensor | None,
        sources_T: Tensor,
        targets_T: Tensor,
        token_loss: TokenLoss | None,
        temperature_T: Tensor | float = 1.0,
        whole_sequences: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor, Totals]:
        """``(loss, logprobs_T, entropy_T, metrics)``; without a loss, the log-probs only. A loss of
        ``whole_sequences`` is called once, with all the tokens.

        There is no attention mask: padding is on the right, where a causal model never looks back
        from, and transformers keeps packed sequences apart by their restarting positions.
        """
        trunk = cast(Callable[..., Any], self.language_model.base_model)
        hidden_RSH = trunk(
            input_ids=token_ids_RS, position_ids=position_ids_RS, use_cache=False
        ).last_hidden_state
        hidden_TH = cast(Tensor, hidden_RSH).flatten(0, 1).index_select(0, sources_T)
        return self.head(hidden_TH, targets_T, token_loss, temperature_T, whole_sequences)


def load_policy(
    model: str,
    *,
    dtype: torch.dtype,
    attention: str,
    chunk: int,
    activation_checkpointing: bool,
) -> PolicyModel:
    """A policy with the weights of a Hugging Face directory or name, ready to be trained.

    Raises:
        ValueError: the model's head is more than a matrix product, so that the fused head would
            compute something else.
    """
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=dtype, attn_implementation=attention)
    language_model = cast(PreTrainedModel, loaded)
    _switch_off_dropout(language_model)
    policy = PolicyModel(language_model, chunk=chunk)
    # Attentions made for an accelerator run nowhere else, and the model is still on the CPU.
    language_model.set_attn_implementation("eager")
    _check_head(policy, dtype)
    language_model.set_attn_implementation(attention)
    if activation_checkpointing:
        language_model.gradient_checkpointing_enable({"use_reentrant": False})
    # transformers checkpoints activations in training mode only; no dropout is left to mind it.
    language_model.train(activation_checkpointing)
    return policy


def _switch_off_dropout(language_model: nn.Module) -> None:
    """The sampler has none: with dropout the trained policy is not the sampled one."""
    for module in language_model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "attention_dropout"):
            cast(Any, module).attention_dropout = 0.0


def _head_weight(language_model: PreTrainedModel) -> nn.Parameter:
    head = cast(Any, language_model.get_output_embeddings())
    if not isinstance(head, nn.Linear) or head.bias is not None:  # pyright: ignore[reportUnnecessaryComparison]
        raise ValueError(
            f"{type(language_model).__name__} has the head {head}: the fused head takes a linear "
            "layer without a bias"
        )
    return cast(nn.Parameter, head.weight)


@torch.no_grad()
def _check_head(policy: PolicyModel, dtype: torch.dtype) -> None:
    """Some models scale or cap their logits; this finds out whatever the option is called."""
    language_model = policy.language_model.eval()
    token_ids_RS = torch.arange(4).unsqueeze(0) % policy.head.weight_VH.shape[0]
    theirs_RSV = cast(Any, language_model)(input_ids=token_ids_RS, use_cache=False).logits
    trunk = cast(Callable[..., Any], language_model.base_model)
    hidden_RSH = trunk(input_ids=token_ids_RS, use_cache=False).last_hidden_state
    ours_RSV = hidden_RSH @ policy.head.weight_VH.t()
    difference = float((theirs_RSV.float() - ours_RSV.float()).abs().max())
    if not difference <= HEAD_TOLERANCE[dtype]:
        raise ValueError(
            f"{type(language_model).__name__}: its logits differ by {difference:.3g} from hidden "
            "states times head weight, so it scales or caps them, which the fused head does not "
            "do; choose a model with a plain linear head"
        )


@torch.no_grad()
def check_packing(
    policy: PolicyModel,
    forward: Callable[..., tuple[Tensor, Tensor, Tensor, Totals]],
    *,
    device: torch.device,
) -> None:
    """Refuse a model whose sequences see each other in a packed row.

    ``forward`` is the engine around ``policy``, or the policy itself where there is none; under
    ZeRO-3 all ranks call.

    Raises:
        ValueError: the log-probs of a sequence depend on the one packed before it.
    """
    length = 24
    generator = torch.Generator().manual_seed(0)
    vocabulary = cast(int, cast(Any, policy.language_model.config).vocab_size)
    token_ids_S = torch.randint(vocabulary, (2 * length,), generator=generator).to(device)
    positions_S = torch.arange(length, device=device)
    sources_T, targets_T = positions_S[:-1], token_ids_S[length + 1 :]
    _, alone_T, _, _ = forward(token_ids_S[None, length:], None, sources_T, targets_T, None)
    _, packed_T, _, _ = forward(
        token_ids_S[None], positions_S.repeat(2)[None], sources_T + length, targets_T, None
    )
    difference = float((alone_T - packed_T).abs().mean())
    if not difference <= PACKING_TOLERANCE[policy.head.weight_VH.dtype]:
        raise ValueError(
            f"learner.layout=packed: the log-probs that {type(policy.language_model).__name__} "
            f"gives to a sequence differ by {difference:.3g} nats when another is packed before "
            "it, for it does not keep them apart by their positions; take layout=padded"
        )
