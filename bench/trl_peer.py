"""TRL's GRPOTrainer on the job that rlvr is measured on, timed by the same rules.

Runs in ``.venv-trl``, where rlvr is not installed, and reads one JSON file: see ``Job``.

    .venv-trl/bin/python bench/trl_peer.py job.json

Training seconds run from the end of one step, and of its evaluation, to the end of the next:
sampling, rewards, loss, backward and optimizer. Start-up and evaluation are timed apart.
"""
# .venv-trl has what this file imports and the checked environment has not.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from trl import GRPOConfig, GRPOTrainer

PACKAGES = ("trl", "transformers", "torch", "accelerate", "datasets")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to train, and how; a key that is missing or unknown is refused by name."""

    model: str
    """Directory with weights and a tokenizer."""
    train: str
    """Lines of ``{"prompt": text, "answer": text}``."""
    held_out: str
    """Lines as in ``train``."""
    out: str
    """File that the result is written to, as JSON."""
    problems_per_step: int
    rollouts_per_problem: int
    max_tokens: int
    """Completion tokens at most."""
    temperature: float
    steps: int
    lr: float
    warmup_steps: int
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    grad_clip: float
    """Largest gradient norm; 0 switches clipping off."""
    epsilon_low: float
    epsilon_high: float
    scale_rewards: str
    """``group`` divides advantages by the standard deviation of their group; ``none`` does not."""
    seed: int
    threads: int
    eval_every: int
    """Steps between evaluations; there is one before the first step and one after the last."""
    target: float
    """Held-out accuracy whose time is reported."""
    stop_at_target: bool
    """Whether training ends at the first evaluation that reaches ``target``."""
    samples_per_microbatch: int | None = None
    """Samples per backward; null takes all of a step's. The gradient does not depend on it."""
    trainer: dict[str, Any] = field(default_factory=dict)
    """Laid over the ``GRPOConfig`` that is made from the settings above."""

    @property
    def samples_per_step(self) -> int:
        return self.problems_per_step * self.rollouts_per_problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One optimizer step."""

    step: int
    seconds: float
    samples: int
    tokens: int
    """Completion tokens sampled, the end of sequence included."""
    reward: float
    """Mean over the step's samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One greedy pass over the held-out problems."""

    step: int
    accuracy: float
    train_seconds: float
    """Training seconds up to here."""
    seconds: float
    """That this evaluation took."""


def last_boxed(text: str) -> str | None:
    """Of the last ``\\boxed{`` what stands before the next ``}``; None where there is none."""
    _, box, rest = text.rpartition("\\boxed{")
    content, brace, _ = rest.partition("}")
    return content.strip() if box and brace else None


def rows(path: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


class Reward:
    """1 where the boxed answer is the reference, else 0; counts what it has seen."""

    __name__ = "boxed"

    def __init__(self) -> None:
        self.samples = 0
        self.tokens = 0
        self.total = 0.0

    def __call__(
        self,
        *,
        completions: Sequence[str],
        completion_ids: Sequence[Sequence[int]],
        answer: Sequence[str],
        **_: Any,  # TRL passes all columns and its own state
    ) -> list[float]:
        pairs = zip(completions, answer, strict=True)
        rewards = [float(last_boxed(text) == gold) for text, gold in pairs]
        self.samples += len(rewards)
        self.tokens += sum(map(len, completion_ids))
        self.total += sum(rewards)
        return rewards


def accuracy(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    problems: Sequence[dict[str, str]],
    max_tokens: int,
) -> float:
    """Share of ``problems`` whose greedy completion boxes the reference."""
    inputs = tokenizer(
        [row["prompt"] for row in problems],
        padding=True,
        padding_side="left",
        return_tensors="pt",
    )
    output_ids = model.generate(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        max_new_tokens=max_tokens,
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    completion_ids = output_ids[:, inputs["input_ids"].shape[1] :]
    texts = tokenizer.batch_decode(completion_ids, skip_special_tokens=True)
    right = [last_boxed(text) == row["answer"] for text, row in zip(texts, problems, strict=True)]
    return sum(right) / len(right)


class Clock(TrainerCallback):
    """Times every step, evaluates between steps, and ends the run at the target."""

    def __init__(self, job: Job, reward: Reward, tokenizer: PreTrainedTokenizerBase) -> None:
        self.job = job
        self.reward = reward
        self.tokenizer = tokenizer
        self.held_out = rows(job.held_out)
        self.steps: list[Step] = []
        self.evaluations: list[Evaluation] = []
        self.startup_seconds = 0.0
        self.train_seconds = 0.0
        self._last = (0, 0, 0.0)
        self._since = 0.0

    @property
    def seconds_to_target(self) -> float | None:
        reached = (e.train_seconds for e in self.evaluations if e.accuracy >= self.job.target)
        return next(reached, None)

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: PreTrainedModel,
        **_: Any,
    ) -> None:
        self.startup_seconds = time.time() - psutil.Process().create_time()
        self._evaluate(0, model)
        self._since = time.perf_counter()

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: PreTrainedModel,
        **_: Any,
    ) -> None:
        seconds = time.perf_counter() - self._since
        self.train_seconds += seconds
        step = self._count(state.global_step, seconds)
        if step.step % self.job.eval_every == 0 or step.step == self.job.steps:
            self._evaluate(step.step, model)
        if self.job.stop_at_target and self.seconds_to_target is not None:
            control.should_training_stop = True
        print(
            f"trl step {step.step}/{self.job.steps} reward {step.reward:.3f} "
            f"{step.seconds:.2f} s accuracy {self.evaluations[-1].accuracy:.3f}",
            flush=True,
        )
        self._since = time.perf_counter()

    def _count(self, step: int, seconds: float) -> Step:
        seen = (self.reward.samples, self.reward.tokens, self.reward.total)
        samples, tokens, total = (now - then for now, then in zip(seen, self._last, strict=True))
        self._last = seen
        self.steps.append(
            Step(
                step=step,
                seconds=seconds,
                samples=int(samples),
                tokens=int(tokens),
                reward=total / samples,
            )
        )
        return self.steps[-1]

    def _evaluate(self, step: int, model: PreTrainedModel) -> None:
        before = time.perf_counter()
        training = model.training
        model.eval()
        right = accuracy(model, self.tokenizer, self.held_out, self.job.max_tokens)
        model.train(training)
        self.evaluations.append(
            Evaluation(
                step=step,
                accuracy=right,
                train_seconds=self.train_seconds,
                seconds=time.perf_counter() - before,
            )
        )


def grpo_config(job: Job) -> GRPOConfig:
    """On-policy GRPO: every step samples its whole batch in one call and takes one update.

    ``dapo`` divides by the completion tokens of the whole batch, whatever the micro-batches.
    """
    microbatch = job.samples_per_microbatch or job.samples_per_step
    if job.samples_per_step % microbatch:
        raise ValueError(
            f"samples_per_microbatch={microbatch}: TRL needs it to divide a step's "
            f"{job.samples_per_step} samples; take one of its divisors"
        )
    settings: dict[str, Any] = {
        "output_dir": str(Path(job.out).parent / "trl"),
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": False,
        "seed": job.seed,
        "max_steps": job.steps,
        "per_device_train_batch_size": microbatch,
        "gradient_accumulation_steps": job.samples_per_step // microbatch,
        "num_generations": job.rollouts_per_problem,
        "max_completion_length": job.max_tokens,
        "temperature": job.temperature,
        "learning_rate": job.lr,
        "lr_scheduler_type": "constant_with_warmup",
        "warmup_steps": job.warmup_steps,
        "adam_beta1": job.betas[0],
        "adam_beta2": job.betas[1],
        "adam_epsilon": job.eps,
        "weight_decay": job.weight_decay,
        "max_grad_norm": job.grad_clip,
        "loss_type": "dapo",
        "epsilon": job.epsilon_low,
        "epsilon_high": job.epsilon_high,
        "scale_rewards": job.scale_rewards,
        "beta": 0.0,
        "num_iterations": 1,
        "mask_truncated_completions": False,
    }
    return GRPOConfig(**(settings | job.trainer))


def train(job: Job) -> dict[str, Any]:
    """Train, and return the result as it is written."""
    torch.set_num_threads(job.threads)
    tokenizer = AutoTokenizer.from_pretrained(job.model)
    model = AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32)
    reward = Reward()
    clock = Clock(job, reward, tokenizer)
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=reward,
        args=grpo_config(job),
        train_dataset=Dataset.from_list(rows(job.train)),
        processing_class=tokenizer,
        callbacks=[clock],
    )
    trainer.train()
    return {
        "job": asdict(job),
        "versions": {package: version(package) for package in PACKAGES},
        "startup_seconds": clock.startup_seconds,
        "train_seconds": clock.train_seconds,
        "seconds_to_target": clock.seconds_to_target,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "steps": [asdict(step) for step in clock.steps],
        "evaluations": [asdict(evaluation) for evaluation in clock.evaluations],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="TRL on one job file")
    parser.add_argument("job", type=Path, help="JSON file with the fields of Job")
    fields = json.loads(parser.parse_args().job.read_text())
    job = Job(**(fields | {"betas": tuple(fields["betas"])}))
    result = train(job)
    aside = Path(f"{job.out}.tmp")
    aside.write_text(json.dumps(result, indent=1) + "\n")
    os.replace(aside, job.out)


if __name__ == "__main__":
    main()
