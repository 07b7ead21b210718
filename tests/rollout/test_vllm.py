"""A real vLLM engine in a Ray actor, against Hugging Face's forward pass with the same weights."""

import os
import time
from dataclasses import replace

import pytest
import ray
import torch

from rlvr.rollout.engine import Sampling
from rlvr.rollout.environment import environment
from rlvr.rollout.worker import RolloutWorker
from rlvr.types import Finish, WeightVersion
from rlvr.weights.base import LogprobProbe, WeightProofError
from rlvr.weights.shm import Sender
from tests.rollout.models import EOS, logprobs, random_model, save_model

pytestmark = pytest.mark.slow

SECONDS = 120
PROMPT = (5, 9, 20, 33, 17)
PROBE = (5, 9, 20, 33, 17, 40, 2, 8, 41, 30)
TOLERANCE = 1e-4
"""Of log-probs in float32; another summation order in attention changes about 1e-6."""


class Engine:
    """The actor, and the learner's side of its channel."""

    def __init__(self, directory, *, tied):
        environ = environment(cpus=1, gpus=0)
        actor = ray.remote(RolloutWorker).options(
            num_cpus=0, max_concurrency=64, runtime_env={"env_vars": environ}
        )
        self.tied = tied
        self.actor = actor.remote(
            name="rollout-0",
            model=str(directory),
            channel="rlvr.weights.shm",
            dtype="float32",
            max_model_len=512,
            gpus=0,
        )
        self.record = self.get(self.actor.start.remote())
        self.sender = Sender(checksum_bytes=2**30)
        self.version = 0

    def get(self, reference):
        return ray.get(reference, timeout=SECONDS)

    def submit(self, *, seeds, prompt=PROMPT, **sampling):
        settings = Sampling(**{"max_tokens": 24} | sampling)
        return self.actor.generate.remote(prompt, sampling=settings, seeds=tuple(seeds))

    def generate(self, **request):
        return self.get(self.submit(**request))

    def load(self, manifest):
        return self.get(self.actor.load_weights.remote(manifest))

    def manifest(self, model, *, tensors=None, tolerance=TOLERANCE):
        self.version += 1
        probe = LogprobProbe(
            token_ids_T=PROBE, logprobs_T=tuple(logprobs(model, PROBE)), tolerance=tolerance
        )
        named = dict(model.named_parameters()) if tensors is None else tensors
        return self.sender.send(named.items(), version=WeightVersion(self.version), probe=probe)

    def steps(self):
        return self.get(self.actor.stats.remote())["steps"]

    def wait_for_steps(self, number):
        deadline = time.monotonic() + SECONDS
        goal = self.steps() + number
        while self.steps() < goal:
            assert time.monotonic() < deadline, "the engine does not step"


@pytest.fixture(scope="module")
def cluster():
    ray.init(
        address="local",
        include_dashboard=False,
        num_cpus=2,
        object_store_memory=100 * 2**20,
        runtime_env={"env_vars": {"PYTHONPATH": os.getcwd()}},
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="module", params=["tied", "untied"])
def engine(request, cluster, tmp_path_factory):
    tied = request.param == "tied"
    engine = Engine(save_model(tmp_path_factory.mktemp(request.param), tied=tied), tied=tied)
    yield engine
    engine.get(engine.actor.close.remote())
    ray.kill(engine.actor)
    engine.sender.close()


def policy(engine, seed):
    return random_model(tied=engine.tied, seed=seed)


def load_policy(engine, seed):
    model = policy(engine, seed)
    engine.load(engine.manifest(model))
    return model


def worst_gap(model, rollout, *, temperature=1.0, since=0):
    """Largest log-prob difference (nats) over the completion's tokens from ``since`` on."""
    ids = rollout.prompt_ids + rollout.completion_ids_T
    expected = logprobs(model, ids, temperature=temperature)[len(rollout.prompt_ids) - 1 :]
    pairs = zip(rollout.logprobs_T[since:], expected[since:], strict=True)
    return max(abs(ours - theirs) for ours, theirs in pairs)


def flipped(manifest, name):
    """Change one byte of a tensor while it is on its way."""
    (entry,) = (entry for entry in manifest.tensors if entry.name == name)
    descriptor = manifest.address["descriptor"]
    byte = os.pread(descriptor, 1, entry.offset)[0]
    os.pwrite(descriptor, bytes([byte ^ 0x40]), entry.offset)
    return manifest


def test_logprobs_are_those_of_the_policy_that_sampled(engine):
    model = load_policy(engine, 1)
    for temperature in (1.0, 0.7):
        for rollout in engine.generate(seeds=range(8), temperature=temperature):
            assert worst_gap(model, rollout, temperature=temperature) < TOLERANCE


def test_greedy_takes_the_likeliest_token(engine):
    model = load_policy(engine, 1)
    (rollout,) = engine.generate(seeds=[0], temperature=0.0)
    ids = torch.tensor([rollout.prompt_ids + rollout.completion_ids_T])
    with torch.no_grad():
        likeliest = model(ids).logits[0].argmax(-1).tolist()[len(PROMPT) - 1 : -1]
    assert tuple(likeliest) == rollout.completion_ids_T


def test_a_completion_ends_with_its_eos_and_the_text_does_not_show_it(engine):
    load_policy(engine, 1)
    rollouts = engine.generate(seeds=range(64), max_tokens=64)
    stopped = [rollout for rollout in rollouts if rollout.finish is Finish.STOP]
    assert stopped
    for rollout in rollouts:
        ends = rollout.completion_ids_T[-1] == EOS
        assert ends == (rollout.finish is Finish.STOP)
        assert EOS not in rollout.completion_ids_T[:-1]
        assert len(rollout.completion_ids_T) == 64 or ends
        assert "<eos>" not in rollout.text


def test_the_same_seed_gives_the_same_tokens_whatever_else_is_in_flight(engine):
    load_policy(engine, 1)
    (alone,) = engine.generate(seeds=[3])
    crowd = [engine.submit(prompt=(7, 8, 9 + i), seeds=range(6)) for i in range(4)]
    among = engine.generate(seeds=[1, 2, 3, 4])
    for reference in crowd:
        engine.get(reference)
    assert among[2].completion_ids_T == alone.completion_ids_T
    assert len({rollout.completion_ids_T for rollout in among}) == 4


def test_new_weights_are_the_policy_from_then_on(engine):
    old = load_policy(engine, 1)
    new = policy(engine, 2)
    measured = engine.load(engine.manifest(new))
    assert measured["version"] == engine.version
    assert measured["probe_difference"] < TOLERANCE
    for rollout in engine.generate(seeds=range(4)):
        assert set(rollout.versions_T) == {engine.version}
        assert worst_gap(new, rollout) < TOLERANCE
        assert worst_gap(old, rollout) > 0.1


def test_a_head_that_alone_changes_is_followed(engine):
    model = load_policy(engine, 1)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(1.5)
    engine.load(engine.manifest(model))
    for rollout in engine.generate(seeds=range(4)):
        assert worst_gap(model, rollout) < TOLERANCE


def test_bfloat16_weights_may_be_sent_to_a_float32_engine(engine):
    model = policy(engine, 3).to(torch.bfloat16)
    rounded = policy(engine, 3)
    rounded.load_state_dict(model.float().state_dict())
    half = {name: value.to(torch.bfloat16) for name, value in rounded.named_parameters()}
    engine.load(engine.manifest(rounded, tensors=half))
    (rollout,) = engine.generate(seeds=[0])
    assert worst_gap(rounded, rollout) < TOLERANCE


def test_a_rollout_that_spans_a_load_keeps_its_tokens_and_goes_on_with_new_weights(engine):
    old = load_policy(engine, 1)
    new = policy(engine, 2)
    before = engine.version
    manifest = engine.manifest(new)
    # Some end before the load and some are only begun after it; those in between count.
    running = engine.submit(seeds=range(64), max_tokens=300)
    engine.wait_for_steps(3)
    engine.load(manifest)
    spanning = [r for r in engine.get(running) if set(r.versions_T) == {before, engine.version}]
    assert spanning
    for rollout in spanning:
        switch = rollout.versions_T.index(engine.version)
        assert rollout.versions_T == (before,) * switch + (engine.version,) * (
            len(rollout.versions_T) - switch
        )
        head = replace(
            rollout,
            completion_ids_T=rollout.completion_ids_T[:switch],
            logprobs_T=rollout.logprobs_T[:switch],
            versions_T=rollout.versions_T[:switch],
        )
        assert worst_gap(old, head) < TOLERANCE
        assert worst_gap(new, rollout, since=switch) < TOLERANCE


def refuses(engine, match):
    with pytest.raises(WeightProofError, match=match):
        engine.generate(seeds=[0])


def recovers(engine):
    model = load_policy(engine, 2)
    (rollout,) = engine.generate(seeds=[0])
    assert worst_gap(model, rollout) < TOLERANCE
    assert set(rollout.versions_T) == {engine.version}


@pytest.mark.parametrize(
    "name",
    ["model.embed_tokens.weight", "model.layers.1.mlp.up_proj.weight", "model.norm.weight"],
)
def test_a_tensor_that_was_changed_on_the_way_stops_the_engine_until_a_good_load(engine, name):
    load_policy(engine, 1)
    with pytest.raises(WeightProofError, match=f"tensor {name} .* checksum"):
        engine.load(flipped(engine.manifest(policy(engine, 2)), name))
    refuses(engine, f"refuses to generate: version {engine.version} .*{name}.*restart")
    recovers(engine)


def test_what_is_in_flight_fails_with_a_load_that_fails(engine):
    load_policy(engine, 1)
    manifest = flipped(engine.manifest(policy(engine, 2)), "model.norm.weight")
    running = engine.submit(seeds=range(64), max_tokens=400)
    engine.wait_for_steps(2)
    with pytest.raises(WeightProofError, match=r"model\.norm\.weight"):
        engine.load(manifest)
    with pytest.raises(WeightProofError, match="refuses to generate"):
        engine.get(running)
    assert engine.get(engine.actor.stats.remote())["requests"] == 0
    recovers(engine)


def test_an_engine_that_computes_something_else_is_found_by_the_probe(engine):
    load_policy(engine, 1)
    manifest = engine.manifest(
        policy(engine, 2), tensors=dict(policy(engine, 3).named_parameters())
    )
    with pytest.raises(WeightProofError, match=r"log-probs of the probe differ .* weights\.probe"):
        engine.load(manifest)
    refuses(engine, "log-probs of the probe differ")
    recovers(engine)


def test_a_probe_that_is_not_a_number_does_not_pass(engine):
    manifest = engine.manifest(policy(engine, 2))
    broken = replace(manifest.probe, logprobs_T=(float("nan"),) * (len(PROBE) - 1))
    with pytest.raises(WeightProofError, match="differ"):
        engine.load(replace(manifest, probe=broken))
    recovers(engine)


@pytest.mark.parametrize(
    ("missing", "layer"),
    [
        ("model.layers.0.self_attn.k_proj.weight", "model.layers.0.self_attn.qkv_proj"),
        ("model.layers.1.mlp.gate_proj.weight", "model.layers.1.mlp.gate_up_proj"),
        ("model.norm.weight", "model.norm"),
        ("model.embed_tokens.weight", "model.embed_tokens"),
    ],
)
def test_a_tensor_that_never_arrives_is_missed(engine, missing, layer):
    model = policy(engine, 2)
    tensors = {name: value for name, value in model.named_parameters() if name != missing}
    with pytest.raises(WeightProofError, match=f"too little arrived for {layer}"):
        engine.load(engine.manifest(model, tensors=tensors))
    recovers(engine)


def test_an_untied_head_that_never_arrives_is_missed(engine):
    if engine.tied:
        return
    model = policy(engine, 2)
    tensors = dict(model.named_parameters())
    del tensors["lm_head.weight"]
    with pytest.raises(WeightProofError, match="too little arrived for lm_head"):
        engine.load(engine.manifest(model, tensors=tensors))
    recovers(engine)


def test_a_tensor_that_the_model_does_not_know_is_named(engine):
    model = policy(engine, 2)
    tensors = dict(model.named_parameters()) | {"model.layers.0.extra.weight": torch.zeros(3)}
    with pytest.raises(WeightProofError, match=r"model\.layers\.0\.extra\.weight .* does not fit"):
        engine.load(engine.manifest(model, tensors=tensors))
    recovers(engine)


@pytest.mark.parametrize("shape", [(127, 128), (128, 64)], ids=str)
def test_a_tensor_of_another_shape_is_named(engine, shape):
    name = "model.layers.0.self_attn.q_proj.weight"
    model = policy(engine, 2)
    tensors = dict(model.named_parameters()) | {name: torch.zeros(shape)}
    with pytest.raises(WeightProofError, match=rf"{name} .* does not fit"):
        engine.load(engine.manifest(model, tensors=tensors))
    recovers(engine)


def test_a_tensor_that_comes_twice_is_refused(engine):
    manifest = engine.manifest(policy(engine, 2))
    with pytest.raises(WeightProofError, match=r"embed_tokens\.weight was sent twice"):
        engine.load(replace(manifest, tensors=(*manifest.tensors, manifest.tensors[0])))
    recovers(engine)


def test_a_prompt_without_room_for_a_completion_is_refused(engine):
    load_policy(engine, 1)
    with pytest.raises(ValueError, match=r"512 tokens leaves no room.*max_prompt_tokens"):
        engine.generate(prompt=(5,) * 512, seeds=[0])


def test_a_call_that_is_given_up_leaves_nothing_in_flight(engine):
    load_policy(engine, 1)
    running = engine.submit(seeds=range(64), max_tokens=400)
    engine.wait_for_steps(1)
    ray.cancel(running)
    deadline = time.monotonic() + SECONDS
    while engine.get(engine.actor.stats.remote())["requests"]:
        assert time.monotonic() < deadline
    assert engine.generate(seeds=[0])


def test_a_buffer_that_cannot_be_reached_stops_the_engine(engine):
    manifest = engine.manifest(policy(engine, 2))
    gone = replace(manifest, address=manifest.address | {"descriptor": 10_000})
    with pytest.raises(WeightProofError, match="is gone"):
        engine.load(gone)
    refuses(engine, "is gone")
    recovers(engine)


def test_a_request_without_seeds_is_refused(engine):
    with pytest.raises(ValueError, match="no seeds"):
        engine.generate(seeds=[])
