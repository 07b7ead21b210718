"""A random policy with a tokenizer of one token per character."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

CHARACTERS = "0123456789+-*/=() abcdefghijklmnopqrstuvwxyz.,:?"
PAD, EOS = 0, 1


def save_tokenizer(directory: Path, *, chat_template: str | None = None) -> None:
    vocabulary = {"<pad>": PAD, "<eos>": EOS} | {c: i + 2 for i, c in enumerate(CHARACTERS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<pad>"
    )
    fast.chat_template = chat_template
    fast.save_pretrained(directory)


def random_model(*, tied: bool = True, seed: int = 0) -> Qwen2ForCausalLM:
    """Small, with the narrowest heads that vLLM has on a CPU (32).

    Peaked enough that other weights give other log-probs; of its 100 entries vLLM makes 128.
    """
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=100,
        hidden_size=128,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=tied,
        eos_token_id=EOS,
        pad_token_id=PAD,
        initializer_range=0.15,
    )
    return Qwen2ForCausalLM(config).float().eval()


def save_model(directory: Path, *, tied: bool = True, seed: int = 0) -> Path:
    random_model(tied=tied, seed=seed).save_pretrained(directory)
    save_tokenizer(directory)
    return directory


@torch.no_grad()
def logprobs(model, ids, *, temperature: float = 1.0) -> list[float]:
    """Of each token but the first (nats)."""
    logits = model(torch.tensor([ids])).logits[0, :-1].float() / temperature
    chosen = logits.log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])
    return chosen[:, 0].tolist()
