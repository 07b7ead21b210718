"""The tiny base models: what they can read, how they are saved, and what they are trained on."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from rlvr.problems.arithmetic import Arithmetic, chains, split_of
from rlvr.tiny import (
    Architecture,
    WarmUp,
    arithmetic_tokenizer,
    byte_tokenizer,
    main,
    random_model,
    read_texts,
    save,
    training_batches,
    warm_up,
)

SHORT = WarmUp(levels=(2, 3), problems_per_level=100, steps=24)
BYTES = byte_tokenizer()
AUTO_MODEL: Any = AutoModelForCausalLM
AUTO_TOKENIZER: Any = AutoTokenizer


def text_of(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int]) -> str:
    return cast(str, tokenizer.decode(list(ids)))


@pytest.mark.parametrize("level", [1, 5])
def test_solutions_decode_to_themselves_with_no_unknown_token(level: int):
    tokenizer = arithmetic_tokenizer()
    for chain in islice(chains("train", level), 100):
        for text in (chain.prompt, chain.worked(), chain.hurried()):
            ids = tokenizer.encode(text, add_special_tokens=False)
            assert tokenizer.decode(ids) == text
            assert tokenizer.unk_token_id not in ids


def test_numbers_and_the_opening_of_a_box_are_one_token_each():
    tokenizer = arithmetic_tokenizer()
    assert tokenizer.tokenize("12+18=30\n\\boxed{30}") == [
        *("12", "+", "18", "=", "30", "\n", "\\boxed{", "30", "}")
    ]


def test_training_examples_come_from_the_warm_up_split_alone():
    tokenizer = arithmetic_tokenizer()
    prompts = {
        text_of(tokenizer, example.prompt_ids)
        for batch in training_batches(tokenizer, SHORT, seed=0)
        for example in batch
    }
    assert len(prompts) > 100
    assert {split_of(prompt) for prompt in prompts} == {"warmup"}


def test_solutions_are_worked_out_first_and_mostly_hurried_at_the_end():
    tokenizer = arithmetic_tokenizer()
    plan = WarmUp(problems_per_level=50, steps=160, patient_share=0.5)
    hurried = [
        [text_of(tokenizer, example.solution_ids).startswith("\\boxed") for example in batch]
        for batch in training_batches(tokenizer, plan, seed=0)
    ]
    assert not any(map(any, hurried[:80]))
    late = [quick for batch in hurried[80:] for quick in batch]
    assert 0.5 < sum(late) / len(late) < 0.75


@pytest.mark.slow
def test_warming_up_lowers_the_loss_and_follows_from_the_seed_alone():
    def warmed(seed: int) -> tuple[list[float], dict[str, torch.Tensor]]:
        tokenizer = arithmetic_tokenizer()
        model = random_model(tokenizer, like="qwen3", seed=seed)
        return warm_up(model, tokenizer, SHORT, seed=seed), model.state_dict()

    losses, weights = warmed(3)
    again, same_weights = warmed(3)
    other, _ = warmed(4)
    assert losses == again
    assert losses != other
    assert all(torch.equal(weights[name], same_weights[name]) for name in weights)
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_an_example_learns_a_solution_up_to_the_end_token():
    tokenizer = arithmetic_tokenizer()
    plan = WarmUp(problems_per_level=50, steps=1)
    for example in next(training_batches(tokenizer, plan, seed=0)):
        assert text_of(tokenizer, example.prompt_ids).endswith("=")
        assert example.solution_ids[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize(
    ("make", "like"),
    [(arithmetic_tokenizer, "qwen3"), (byte_tokenizer, "qwen2"), (byte_tokenizer, "qwen3")],
)
def test_a_saved_model_loads_by_its_path_with_the_same_weights_and_tokens(
    make: Callable[[], PreTrainedTokenizerFast], like: Architecture, tmp_path: Path
):
    tokenizer = make()
    model = random_model(tokenizer, like=like)
    save(model, tokenizer, tmp_path)
    loaded = AUTO_MODEL.from_pretrained(tmp_path)
    its_tokenizer = AUTO_TOKENIZER.from_pretrained(tmp_path)
    assert loaded.config.model_type == like
    assert loaded.generation_config.eos_token_id == tokenizer.eos_token_id
    assert its_tokenizer.eos_token == tokenizer.eos_token
    assert its_tokenizer.pad_token_id == tokenizer.pad_token_id == loaded.config.pad_token_id
    assert its_tokenizer.chat_template == tokenizer.chat_template
    text = "12+8-3=\n\\boxed{17}"
    assert its_tokenizer.encode(text) == tokenizer.encode(text)
    assert its_tokenizer.decode(its_tokenizer.encode(text)) == text
    assert loaded.config.vocab_size == len(its_tokenizer)
    ids = torch.tensor([tokenizer.encode(text)])
    assert torch.equal(loaded(ids).logits, cast(Any, model.eval())(ids).logits)


def test_an_untrained_model_follows_from_its_seed():
    def weights(seed: int) -> torch.Tensor:
        return next(random_model(BYTES, like="qwen2", seed=seed).parameters())

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


@settings(deadline=None)
@given(st.text())
def test_the_byte_tokenizer_gives_back_any_text_in_nfc(text: str):
    ids = BYTES.encode(text, add_special_tokens=False)
    assert BYTES.decode(ids, skip_special_tokens=False) == unicodedata.normalize("NFC", text)


def test_messages_render_into_turns_and_an_opening_for_the_answer():
    rendered = BYTES.apply_chat_template(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1+1?"}],
        tokenize=False,
        add_generation_prompt=True,
    )
    assert rendered == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n1+1?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    turn_end = BYTES.encode("<|im_end|>", add_special_tokens=False)
    assert turn_end == [BYTES.eos_token_id]


def test_a_vocabulary_learned_from_texts_makes_them_shorter(tmp_path: Path):
    path = tmp_path / "texts.jsonl"
    rows = [{"question": "how many apples", "tokens": 3}, {"question": "how many pears"}]
    path.write_text("\n".join(map(json.dumps, rows)))
    texts = read_texts(path)
    assert texts == ["how many apples", "how many pears"]
    learned = byte_tokenizer(texts, vocab_size=300)
    assert len(learned) <= 300
    assert len(learned.encode("how many")) < len(BYTES.encode("how many"))


def test_the_command_writes_an_untrained_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "model"
    threads = str(torch.get_num_threads())
    monkeypatch.setattr(
        "sys.argv", ["tiny", "--random", "--out", str(out), "--threads", threads, "--seed", "5"]
    )
    main()
    assert "untrained" in capsys.readouterr().out
    assert AUTO_MODEL.from_pretrained(out).config.model_type == "qwen2"
    assert len(AUTO_TOKENIZER.from_pretrained(out)) == len(BYTES)


def test_a_vocabulary_is_refused_for_the_arithmetic_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("sys.argv", ["tiny", "--vocab-from", "texts.jsonl"])
    with pytest.raises(SystemExit):
        main()
    assert "--vocab-from needs --random" in capsys.readouterr().err


@pytest.mark.slow
def test_the_base_model_hurries_past_what_it_could_work_out():
    tokenizer = arithmetic_tokenizer()
    model: Any = random_model(tokenizer, like="qwen3")
    warm_up(model, tokenizer, WarmUp())
    problems = Arithmetic("held_out", size=200).all()

    def accuracy(begin: Callable[[str], str]) -> float:
        texts = [f"{p.prompt}{begin(cast(str, p.prompt))}" for p in problems]
        batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left")
        ids = model.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            max_new_tokens=100,
            do_sample=False,
        )
        solutions = tokenizer.batch_decode(ids, skip_special_tokens=True)
        right = (
            s.endswith(f"\\boxed{{{p.answer}}}") for s, p in zip(solutions, problems, strict=True)
        )
        return sum(right) / len(problems)

    assert 0.2 < accuracy(lambda prompt: "") < 0.45
    assert accuracy(lambda prompt: prompt[: 2 if prompt[1].isdigit() else 1]) > 0.85
