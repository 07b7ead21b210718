"""Adapters: what they compute, what trains, what leaves the learner, on one and two ranks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from rlvr.learner.lora import adapter_parameters, adapters_off, add_adapters, weights
from rlvr.learner.parameters import export, full_parameters
from rlvr.learner.settings import LoraSettings, OptimizerSettings
from rlvr.learner.worker import LearnerWorker
from tests.learner.bare import bare_learner, plain_update, sequences
from tests.learner.hosted import Group, learner_settings
from tests.learner.ranks import Learner, batch

SMALL = LoraSettings(rank=3, alpha=5.0)
AT = ("before", "after")


def language_model(path: str, *, dtype: torch.dtype = torch.float32):
    return AutoModelForCausalLM.from_pretrained(path, dtype=dtype).eval()


def adapted(path: str, *, settings: LoraSettings = SMALL, dtype=torch.float32, trained=True):
    """With adapters, and these not at their start unless they are to be."""
    model = language_model(path, dtype=dtype)
    add_adapters(model, settings, seed=1)
    generator = torch.Generator().manual_seed(2)
    for _, factor in adapter_parameters(model) if trained else ():
        factor.data = torch.randn(factor.shape, generator=generator).mul(0.3).to(dtype)
    return model


def logprobs(model, seed: int = 0) -> torch.Tensor:
    ids, _ = sequences(seed)
    with torch.no_grad():
        return model(input_ids=ids).logits.log_softmax(-1).gather(2, ids[:, :, None])


def trainable(model) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_untrained_adapters_change_nothing(tied):
    assert torch.equal(logprobs(adapted(tied, trained=False)), logprobs(language_model(tied)))


def test_a_model_with_adapters_is_the_model_that_it_was(tied):
    before, model = language_model(tied), adapted(tied)
    assert type(model) is type(before)
    assert type(model.base_model) is type(before.base_model)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_only_adapters_train(untied):
    model = adapted(untied)
    factors = {id(factor) for _, factor in adapter_parameters(model)}
    assert {id(p) for p in model.parameters() if p.requires_grad} == factors
    # Seven linear layers in each of two blocks, with A and B each.
    assert len(factors) == 2 * 7 * 2


def test_adapters_depend_on_the_seed_alone_and_draw_from_no_other_generator(tied):
    torch.manual_seed(11)
    first, state = adapted(tied, trained=False), torch.get_rng_state()
    torch.manual_seed(12)
    second = adapted(tied, trained=False)
    for (_, a), (_, b) in zip(adapter_parameters(first), adapter_parameters(second), strict=True):
        assert torch.equal(a, b)
    torch.manual_seed(11)
    language_model(tied)
    assert torch.equal(torch.get_rng_state(), state)
    other = language_model(tied)
    add_adapters(other, SMALL, seed=2)
    assert not torch.equal(adapter_parameters(other)[0][1], adapter_parameters(first)[0][1])


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (("q_proj", "down_proj"), {"q_proj", "down_proj"}),
        (("layers.1.self_attn.q_proj",), {"q_proj"}),
        (r".*\.self_attn\.[qk]_proj", {"q_proj", "k_proj"}),
        ("all-linear", {f"{x}_proj" for x in ("q", "k", "v", "o", "gate", "up", "down")}),
    ],
)
def test_targets_say_which_layers_get_adapters(tied, targets, expected):
    model = adapted(tied, settings=LoraSettings(targets=targets))
    assert {name.split(".")[-3] for name, _ in adapter_parameters(model)} == expected
    blocks = {name.split(".")[4] for name, _ in adapter_parameters(model)}
    assert blocks == ({"1"} if targets == ("layers.1.self_attn.q_proj",) else {"0", "1"})


@pytest.mark.parametrize(
    ("targets", "reason"),
    [
        (("q_proj", "query"), "'query': no layer has that name"),
        ("q_proj", "'q_proj': no layer's whole name matches it.* or a list of some"),
        (("lm_head",), "lm_head is the head"),
        (("norm",), "model.norm is a Qwen2RMSNorm"),
        (("embed_tokens",), "model.embed_tokens is a Embedding"),
        (r"model\.layers\.\d", "model.layers.0 is a Qwen2DecoderLayer"),
    ],
)
def test_a_target_that_cannot_have_an_adapter_is_refused_with_those_that_can(tied, targets, reason):
    model = language_model(tied)
    with pytest.raises(ValueError, match=reason) as refused:
        add_adapters(model, LoraSettings(targets=targets), seed=0)
    assert "down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj" in str(refused.value)
    assert not adapter_parameters(model)


@pytest.mark.parametrize(
    "changes",
    [
        {"rank": 0},
        {"alpha": 0.0},
        {"alpha": float("nan")},
        {"targets": ()},
        {"targets": ("q_proj", 1)},
        {"targets": 1},
        {"targets": "(q_proj"},
    ],
)
def test_settings_that_train_nothing_are_refused(changes):
    with pytest.raises(ValueError, match=f"learner.lora.{next(iter(changes))}"):
        LoraSettings(**changes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_merged_weight_is_the_sum_in_fp32(tied, dtype):
    model = adapted(tied, dtype=dtype)
    factors = {name: p.detach().double() for name, p in adapter_parameters(model)}
    assert all(p.dtype == dtype for _, p in adapter_parameters(model))
    merged = dict(full_parameters(model, partitioned=False))
    before = dict(language_model(tied, dtype=dtype).named_parameters())
    changed = 0
    for name, base in before.items():
        layer = f"base_model.model.{name.removesuffix('.weight')}"
        expected = base.detach().double()
        if f"{layer}.lora_A.weight" in factors:
            changed += 1
            product = factors[f"{layer}.lora_B.weight"] @ factors[f"{layer}.lora_A.weight"]
            expected = expected + 5.0 / 3 * product
        rounding = 1e-6 if dtype == torch.float32 else 2**-8 * expected.abs().max().item()
        assert merged[name].dtype == dtype
        torch.testing.assert_close(merged[name].double(), expected, rtol=0, atol=rounding)
    assert changed == 14


def test_weights_are_named_as_in_the_checkpoint_and_in_its_order(untied):
    names = [name for name, _ in language_model(untied).named_parameters()]
    assert [weight.name for weight in weights(adapted(untied))] == names
    assert [name for name, _ in full_parameters(adapted(untied), partitioned=False)] == names


def test_merged_weights_say_what_the_adapters_say(tied):
    model, merged = adapted(tied), language_model(tied)
    merged.load_state_dict(dict(full_parameters(model, partitioned=False)), strict=False)
    merged.tie_weights()
    assert (logprobs(model) - logprobs(language_model(tied))).abs().max() > 0.1
    assert (logprobs(model) - logprobs(merged)).abs().max() < 1e-5


def test_with_adapters_off_the_model_is_its_base(tied):
    model = adapted(tied)
    there, trains = logprobs(model), trainable(model)
    with adapters_off(model):
        assert torch.equal(logprobs(model), logprobs(language_model(tied)))
        assert not model(input_ids=sequences(0)[0]).logits.requires_grad
    assert torch.equal(logprobs(model), there)
    assert trainable(model) == trains
    with pytest.raises(RuntimeError, match="inside"), adapters_off(model):
        raise RuntimeError("inside")
    assert torch.equal(logprobs(model), there)
    assert model(input_ids=sequences(0)[0]).logits.requires_grad


def test_a_model_without_adapters_is_its_own_reference(tied):
    model = language_model(tied)
    with adapters_off(model):
        assert torch.equal(logprobs(model), logprobs(language_model(tied)))
    assert model(input_ids=sequences(0)[0]).logits.requires_grad


def test_activation_checkpointing_keeps_the_gradient_below_frozen_embeddings(tied):
    plain, checkpointed = adapted(tied), adapted(tied)
    checkpointed.gradient_checkpointing_enable({"use_reentrant": False})
    checkpointed.train()
    for model in (plain, checkpointed):
        plain_update(model, 0, lr=0.0)
    factors = zip(adapter_parameters(plain), adapter_parameters(checkpointed), strict=True)
    for (name, ours), (_, theirs) in factors:
        assert ours.grad.abs().max() > 0, name
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-7)


@pytest.mark.parametrize("model", ["tied", "untied"])
def test_an_export_loads_with_transformers_and_its_adapter_with_peft(request, tmp_path, model):
    path = request.getfixturevalue(model)
    trained = adapted(path)
    export(trained, tmp_path, tokenizer=path, partitioned=False, writes=True)
    check_export(tmp_path, path, logprobs(trained))


def check_export(directory, path, expected):
    loaded, problems = AutoModelForCausalLM.from_pretrained(directory, output_loading_info=True)
    assert not any(problems.values())
    assert trainable(loaded) == trainable(language_model(path))
    torch.testing.assert_close(logprobs(loaded.eval()), expected, rtol=0, atol=1e-5)
    with_adapter = PeftModel.from_pretrained(language_model(path), str(directory / "adapter"))
    torch.testing.assert_close(logprobs(with_adapter.eval()), expected, rtol=0, atol=1e-5)
    assert with_adapter.peft_config["default"].base_model_name_or_path == path


def test_a_model_without_adapters_exports_none(tied, tmp_path):
    export(language_model(tied), tmp_path, tokenizer=tied, partitioned=False, writes=True)
    assert not (tmp_path / "adapter").exists()


@pytest.fixture
def bare(ranks, tied):
    """Makes a started learner with adapters; the one before it is closed."""
    made: list[Group] = []

    def make(*, world_size: int = 1, descent: bool = True, lr: float = 1.0, **changes):
        if made:
            made.pop().close()
        optimizer = OptimizerSettings(lr=lr, grad_clip=0.0)
        settings = learner_settings(**{"lora": SMALL, "optimizer": optimizer} | changes)
        made.append(bare_learner(ranks(world_size), tied, settings, descent=descent))
        return made[-1]

    yield make
    if made:
        made.pop().close()


def by_peft(path: str, *, seed: int) -> PeftModel:
    """The same start, made by peft alone."""
    model = language_model(path)
    config = LoraConfig(r=3, lora_alpha=5, target_modules="all-linear", task_type="CAUSAL_LM")
    torch.manual_seed(seed)
    return get_peft_model(model, config)


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_updates_are_those_of_plain_torch_and_peft(bare, tied, world_size, zero_stage):
    made = bare(world_size=world_size, zero_stage=zero_stage)
    expected = by_peft(tied, seed=0)
    for seed in range(3):
        # From the second on, when B is no longer 0, A trains too.
        norm = plain_update(expected, seed, lr=1.0)
        assert made.update(seed) == pytest.approx(norm, rel=1e-4)
        np.testing.assert_allclose(
            made.logprobs(9, True), next_logprobs(expected, 9), rtol=0, atol=1e-5
        )
    factors = dict(expected.named_parameters())
    assert factors["base_model.model.model.layers.0.mlp.up_proj.lora_B.default.weight"].abs().max()
    merged = dict(expected.merge_and_unload().named_parameters())
    start = dict(language_model(tied).named_parameters())
    ours = made.parameters()
    assert ours.keys() == start.keys()
    for name, tensor in ours.items():
        np.testing.assert_allclose(tensor, merged[name].detach(), rtol=0, atol=1e-6, err_msg=name)
        if "_proj.weight" in name:
            assert not np.array_equal(tensor, start[name].detach())
        else:
            np.testing.assert_array_equal(tensor, start[name].detach(), err_msg=name)


def next_logprobs(model, seed: int) -> np.ndarray:
    """Of each token after the first."""
    ids, _ = sequences(seed)
    with torch.no_grad():
        scores = model(input_ids=ids).logits[:, :-1].log_softmax(-1)
    return scores.gather(2, ids[:, 1:, None])[..., 0].numpy()


@pytest.mark.slow
@pytest.mark.parametrize(("world_size", "zero_stage"), [(1, 0), (2, 1), (2, 2), (2, 3)])
def test_the_reference_is_the_base_and_asking_it_disturbs_no_update(
    bare, tied, world_size, zero_stage
):
    made = bare(world_size=world_size, zero_stage=zero_stage)
    expected = by_peft(tied, seed=0)
    for seed in range(3):
        base = made.logprobs(9, False)
        np.testing.assert_allclose(base, next_logprobs(language_model(tied), 9), rtol=0, atol=1e-5)
        norm = plain_update(expected, seed, lr=1.0)
        assert made.update(seed) == pytest.approx(norm, rel=1e-4)
    np.testing.assert_allclose(
        made.logprobs(9, True), next_logprobs(expected, 9), rtol=0, atol=1e-5
    )
    assert np.abs(made.logprobs(9, True) - base).max() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("zero_stage", [0, 3])
def test_checkpointed_activations_train_the_same(bare, tied, zero_stage):
    made = bare(world_size=2, zero_stage=zero_stage, activation_checkpointing=True)
    expected = by_peft(tied, seed=0)
    for seed in range(2):
        norm = plain_update(expected, seed, lr=1.0)
        assert made.update(seed) == pytest.approx(norm, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("zero_stage", [2, 3])
def test_bfloat16_adapters_add_up_updates_smaller_than_their_own_precision(
    bare, tmp_path, zero_stage
):
    made = bare(zero_stage=zero_stage, dtype="bfloat16", descent=False, lr=1e-4)
    made.export(str(tmp_path / "before"))
    for _ in range(20):
        made.update(0)
    made.export(str(tmp_path / "after"))
    before, after = (load_file(tmp_path / at / "adapter/adapter_model.safetensors") for at in AT)
    large = {name: (tensor.abs() > 2**-4) for name, tensor in before.items() if "lora_A" in name}
    # Half a step of bfloat16 is 2.4e-4 there: one update alone would be rounded away.
    moved = sum(int((after[n] != before[n])[mask].sum()) for n, mask in large.items())
    assert moved > sum(int(mask.sum()) for mask in large.values()) // 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("world_size", "zero_stage", "dtype"),
    [(1, 0, "float32"), (2, 1, "float32"), (2, 2, "bfloat16"), (2, 3, "float32")],
)
def test_a_loaded_learner_goes_on_as_if_nothing_had_been(
    bare, tmp_path, world_size, zero_stage, dtype
):
    changes = {
        "world_size": world_size,
        "zero_stage": zero_stage,
        "dtype": dtype,
        "descent": False,
        "lr": 0.01,
    }
    made = bare(**changes)
    for seed in range(2):
        made.update(seed)
    state = made.save(str(tmp_path))
    norm, expected = made.update(2), made.parameters()

    made = bare(**changes, seed=5)
    made.update(7)
    made.load(str(tmp_path), state)
    assert made.update(2) == norm
    for name, tensor in made.parameters().items():
        np.testing.assert_array_equal(tensor, expected[name], err_msg=name)


@pytest.mark.slow
def test_an_export_of_partitioned_weights_loads_too(bare, tied, tmp_path):
    made = bare(world_size=2, zero_stage=3)
    for seed in range(2):
        made.update(seed)
    made.export(str(tmp_path))
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    ours = made.logprobs(9, True)
    np.testing.assert_allclose(next_logprobs(loaded, 9), ours, rtol=0, atol=1e-5)
    check_export(tmp_path, tied, logprobs(loaded))


@pytest.mark.slow
@pytest.mark.parametrize(("world_size", "zero_stage"), [(1, 0), (2, 3)])
def test_a_learner_with_adapters_publishes_whole_weights_and_proves_them(
    ranks, untied, tmp_path, world_size, zero_stage
):
    optimizer = OptimizerSettings(lr=0.02)
    changes = {"zero_stage": zero_stage, "lora": SMALL, "optimizer": optimizer}
    settings = learner_settings(**changes, mismatch_bound=None)
    made = Learner(ranks(world_size), untied, LearnerWorker, settings)
    try:
        for seed in range(2):
            assert made.step(batch(seed=seed))["actor/skipped"] == 0
        manifest = made.publish(0)
        made.export_hf(str(tmp_path))
    finally:
        made.close()
    exported = language_model(str(tmp_path))
    assert [e.name for e in manifest.tensors] == [n for n, _ in exported.named_parameters()]
    ids = torch.tensor([manifest.probe.token_ids_T])
    with torch.no_grad():
        scores = exported(input_ids=ids).logits[0, :-1].log_softmax(-1)
    expected = scores.gather(1, ids[0, 1:, None])[:, 0]
    np.testing.assert_allclose(manifest.probe.logprobs_T, expected, rtol=0, atol=1e-4)
    assert (tmp_path / "adapter/adapter_model.safetensors").exists()
