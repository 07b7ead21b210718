"""Learner ranks in processes of their own, and the tiny model and batches that they train on."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from rlvr.learner.environment import environment
from rlvr.learner.group import LearnerGroup
from rlvr.learner.losses.clipped import Clipped
from rlvr.learner.parameters import full_parameters
from rlvr.learner.settings import LearnerSettings, OptimizerSettings
from rlvr.learner.worker import LearnerWorker
from rlvr.remote import WorkerDied
from rlvr.types import Finish, Rollout, TrainBatch, TrainSample

VOCABULARY = 64
SECONDS = 120
OVERLAY = {"zero_optimization": {"stage3_param_persistence_threshold": 0}}
"""Else so small a model is never partitioned, and ZeRO-3 not tested."""


def tiny_model(directory: Path, *, tied: bool = True, seed: int = 0, **changes) -> str:
    """A random Qwen2 with a tokenizer, as a directory."""
    torch.manual_seed(seed)
    settings = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "tie_word_embeddings": tied,
        "initializer_range": 0.2,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    model = Qwen2ForCausalLM(Qwen2Config(**settings | changes))
    model.save_pretrained(directory)
    words = {f"w{index}": index for index in range(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="w2").save_pretrained(directory)
    return str(directory)


def settings(**changes) -> LearnerSettings:
    small = {
        "loss": Clipped(),
        "max_tokens": 16,
        "tokens_per_microbatch": 64,
        "head_chunk": 16,
        "mismatch_bound": None,
        "deepspeed": OVERLAY,
        "collective_timeout": 60.0,
        "checksum_bytes": 2**20,
    }
    optimizer = {"lr": 0.05, "grad_clip": 0.0}
    names = {field.name for field in fields(OptimizerSettings)}
    optimizer |= {name: changes.pop(name) for name in names & changes.keys()}
    return LearnerSettings(optimizer=OptimizerSettings(**optimizer), **small | changes)


def batch(*, problems: int = 5, rollouts: int = 3, seed: int = 0, version: int = 0) -> TrainBatch:
    """Samples of uneven lengths and made-up log-probs near those of a flat policy."""
    random = np.random.default_rng(seed)
    samples = []
    for problem in range(problems):
        prompt = tuple(int(i) for i in random.integers(3, VOCABULARY, random.integers(1, 9)))
        for _ in range(rollouts):
            tokens = int(random.integers(1, 14))
            rollout = Rollout(
                prompt_ids=prompt,
                completion_ids_T=tuple(int(i) for i in random.integers(3, VOCABULARY, tokens)),
                logprobs_T=tuple(float(x) for x in random.normal(-4.2, 0.5, tokens)),
                versions_T=(version,) * tokens,
                text="",
                finish=Finish.STOP,
            )
            advantage = float(random.normal())
            samples.append(TrainSample(rollout=rollout, advantage=advantage, problem=problem))
    return TrainBatch(samples=tuple(samples), version=version)


class Descent(LearnerWorker):
    """Plain gradient descent: what parameters change by is the gradient, where Adam's division
    would blow up rounding errors of gradients near 0."""

    def _optimizer(self, parameters):
        return torch.optim.SGD(parameters, lr=self._settings.optimizer.lr)

    def parameters(self) -> dict[str, np.ndarray]:
        """All of them in full; collective."""
        return full(self)


class Adam(LearnerWorker):
    def parameters(self) -> dict[str, np.ndarray]:
        return full(self)

    def draw(self) -> list[float]:
        """The next random number of each generator."""
        return [torch.rand(()).item(), np.random.random()]


def full(worker) -> dict[str, np.ndarray]:
    model = worker._policy.language_model
    tensors = full_parameters(model, partitioned=worker._is_partitioned)
    return {name: tensor.float().cpu().numpy().copy() for name, tensor in tensors}


class RankProcess:
    """A ``Remote`` over a pipe. One process can host one worker after the other."""

    def __init__(self, name: str) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        variables = environment(threads=1, gpu=False, one_node=True)
        before = dict(os.environ)
        os.environ.update(variables)
        try:
            self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
            self._process.start()
        finally:
            os.environ.clear()
            os.environ.update(before)
        theirs.close()
        self._thread = ThreadPoolExecutor(1)

    async def call(self, method: str, /, *args, phase: str, **kwargs):
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._ask, method, args, kwargs)

    def host(self, worker: type, **kwargs) -> None:
        self._ask("host", (worker,), kwargs)

    def stop(self) -> None:
        self._process.kill()
        self._process.join(10)

    def _ask(self, method, args, kwargs):
        try:
            self._pipe.send((method, args, kwargs))
            if not self._pipe.poll(SECONDS):
                raise TimeoutError(f"{self.name} did not answer {method} in {SECONDS} s")
            answer, error = self._pipe.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            raise WorkerDied(f"{self.name} is gone") from error
        if error is not None:
            raise error
        return answer


class Learner:
    """A learner group without the asyncio."""

    def __init__(self, ranks, model, worker, settings) -> None:
        self.ranks = ranks
        for rank, process in enumerate(ranks):
            process.host(
                worker,
                name=process.name,
                rank=rank,
                world_size=len(ranks),
                model=model,
                settings=settings,
            )
        self.group = LearnerGroup(ranks, settings=settings)
        asyncio.run(self.group.start())

    def __getattr__(self, name):
        def run(*args):
            return asyncio.run(getattr(self.group, name)(*args))

        return run

    def parameters(self):
        return self.on_all("parameters")[0]

    def on_all(self, method, *args):
        return asyncio.run(self.group._on_all(method, *args, phase="train"))

    def close(self):
        asyncio.run(self.group.close())


def _serve(pipe) -> None:
    torch.set_num_threads(1)
    worker = None
    while True:
        try:
            method, args, kwargs = pipe.recv()
        except EOFError:
            return
        try:
            if method == "host":
                worker = args[0](**kwargs)
                pipe.send((None, None))
            else:
                pipe.send((getattr(worker, method)(*args, **kwargs), None))
        except Exception as error:
            pipe.send((None, error))
