"""A rank that trains a policy on an engine and does nothing else, and what it trains on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from rlvr.learner.deepspeed_config import load_deepspeed
from rlvr.learner.engine import Engine
from rlvr.learner.lora import adapters_off, add_adapters
from rlvr.learner.loss import LossOutput
from rlvr.learner.model import PolicyModel
from rlvr.learner.parameters import export, full_parameters
from rlvr.learner.settings import LearnerSettings
from tests.learner.hosted import Group, Hosted
from tests.learner.ranks import VOCABULARY

SEQUENCES, LENGTH = 4, 9


def sequences(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens ``[B, S]`` and how much each sequence's log-probs are wanted ``[B]``."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(VOCABULARY, (SEQUENCES, LENGTH), generator=generator)
    return ids, torch.randn(SEQUENCES, generator=generator)


def plain_update(model: torch.nn.Module, seed: int, *, lr: float) -> float:
    """One step of gradient descent in plain torch; the gradient's norm."""
    ids, wanted = sequences(seed)
    logprobs = model(input_ids=ids).logits[:, :-1].log_softmax(-1)
    logprobs = logprobs.gather(2, ids[:, 1:, None])[..., 0]
    model.zero_grad()
    (-(wanted[:, None] * logprobs).sum() / logprobs.numel()).backward()
    trained = [p for p in model.parameters() if p.grad is not None]
    with torch.no_grad():
        for parameter in trained:
            parameter -= lr * parameter.grad
    return torch.nn.utils.get_total_norm([p.grad for p in trained]).item()


class BareRank(Hosted):
    def build(self, model: str, descent: bool) -> None:
        """With plain gradient descent, or with the engine's own AdamW."""
        settings, self._model_path = self.settings, model
        dtype = getattr(torch, settings.dtype)
        language_model = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
        if settings.lora is not None:
            add_adapters(language_model, settings.lora, seed=settings.seed)
        if settings.activation_checkpointing:
            language_model.gradient_checkpointing_enable({"use_reentrant": False})
        language_model.train(settings.activation_checkpointing)
        self._policy = PolicyModel(language_model, chunk=8)
        if settings.zero_stage == 3:
            head = self._policy.head
            load_deepspeed().zero.register_external_parameter(head, head.weight_VH)
        trained = [p for p in self._policy.parameters() if p.requires_grad]
        lr = settings.optimizer.lr
        self._engine = Engine(
            self._policy,
            name="actor",
            settings=settings,
            optimizer=settings.optimizer,
            torch_optimizer=torch.optim.SGD(trained, lr=lr) if descent else None,
        )

    def update(self, seed: int, broken: bool = False) -> float | None:
        """On this rank's share of ``sequences``, one in each micro-batch; the gradient's norm."""
        ids, wanted = sequences(seed)
        if broken:
            wanted[0] = torch.nan
        mine = range(self.rank, SEQUENCES, self.world_size)
        for index in mine:

            def token_loss(rows, logprobs, entropy, weight=wanted[index]):
                loss = -(weight * logprobs).sum() / (SEQUENCES * (LENGTH - 1))
                return LossOutput(loss=loss, metrics={})

            share = self._engine(*_inputs(ids[index]), token_loss)[0]
            self._engine.backward(share, last=index == mine[-1])
        return self._engine.step()

    def logprobs(self, seed: int, adapted: bool) -> np.ndarray:
        """``[B, S - 1]``, with the adapters or without them; collective."""
        ids, _ = sequences(seed)
        if not adapted:
            with adapters_off(self._policy.language_model):
                return self.logprobs(seed, True)
        with torch.no_grad():
            rows = [self._engine(*_inputs(row), None)[1] for row in ids]
        return torch.stack(rows).numpy()

    def parameters(self) -> dict[str, np.ndarray]:
        model, partitioned = self._policy.language_model, self.settings.zero_stage == 3
        drawn = full_parameters(model, partitioned=partitioned)
        return {name: tensor.float().numpy().copy() for name, tensor in drawn}

    def export(self, directory: str) -> None:
        export(
            self._policy.language_model,
            Path(directory),
            tokenizer=self._model_path,
            partitioned=self.settings.zero_stage == 3,
            writes=self.rank == 0,
        )

    def save(self, directory: str) -> dict:
        return dict(self._engine.save(directory))

    def load(self, directory: str, state: dict) -> None:
        self._engine.load(directory, state)

    def close(self) -> None:
        self._engine.close()
        self.leave()


def bare_learner(ranks, model: str, settings: LearnerSettings, *, descent: bool = True) -> Group:
    """All its ranks as one; answers are those of rank 0."""
    group = Group(ranks, BareRank, settings)
    group.build(model, descent)
    return group


def _inputs(ids: torch.Tensor) -> tuple[torch.Tensor, None, torch.Tensor, torch.Tensor]:
    return ids[None], None, torch.arange(len(ids) - 1), ids[1:]
