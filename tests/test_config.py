import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from rlvr import recipes
from rlvr.config import ConfigError, RunConfig
from rlvr.config_checks import ABOVE_ZERO, AT_LEAST, ONE_OF, arithmetic, built, check, slots
from rlvr.model_directory import resolve_model
from rlvr.recipes import as_yaml, known_keys, load, over, recipe

DOZEN = Path(__file__).parent / "data" / "gsm8k_dozen.jsonl"

PLUGINS = '''
"""Plug-ins for the tests of the configuration."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Band:
    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Other:
    high: float = 0.5
    inner: object = None

    def __post_init__(self):
        if self.high > 1:
            raise ValueError(f"high={self.high}: a share is at most 1")


class Any:
    def __init__(self, **settings): ...


class Sink:
    def __init__(self, run_dir, run_name, steps=0): ...


Sender = Any
'''

RECIPE = """
model: org/name
seed: 0
problems: {_target_: PLACE.Any}
reward: {_target_: PLACE.Any}
filter: {_target_: PLACE.Band, low: 0.1}
advantage: {_target_: PLACE.Any}
learner: {loss: {_target_: PLACE.Any}}
weights: {channel: PLACE}
sinks: [{_target_: PLACE.Sink, steps: "${steps}"}]
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A user's folder with plug-ins, recipes and a module name that only this test has."""
    module = "plugins_" + re.sub(r"\W", "_", tmp_path.name)
    (tmp_path / f"{module}.py").write_text(PLUGINS)
    (tmp_path / "broken.py").write_text("import no_such_dependency\n")
    (tmp_path / "base.yaml").write_text(RECIPE.replace("PLACE", module))
    monkeypatch.setattr(recipes, "RECIPES", tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return module


def model_directory(path: Path, **config: Any) -> Path:
    """What save_pretrained leaves behind, with one tensor of 4 bytes."""
    path.mkdir(parents=True)
    settings = {"model_type": "qwen2", "max_position_embeddings": 512, **config}
    (path / "config.json").write_text(json.dumps(settings))
    (path / "tokenizer.json").write_text("{}")
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    weights = len(header).to_bytes(8, "little") + header + bytes(4)
    (path / "model.safetensors").write_bytes(weights)
    return path


def refusal(*words: str) -> str:
    with pytest.raises(ConfigError) as refused:
        load(["recipe=base", *words])
    return str(refused.value)


# Composing


def test_settings_come_from_the_recipe_and_then_from_the_command_line(place: str):
    run = load(["recipe=base", "steps=7", "learner.optimizer.lr=1e-5", "filter.high=0.9"])
    assert isinstance(run, RunConfig)
    assert (run.recipe_name, run.steps, run.learner.optimizer.lr) == ("base", 7, 1e-5)
    assert run.filter == {"_target_": f"{place}.Band", "low": 0.1, "high": 0.9}
    assert run.sinks == [{"_target_": f"{place}.Sink", "steps": 7}]
    assert run.learner.optimizer.betas == (0.9, 0.999)


def test_the_order_of_the_words_does_not_matter(place: str):
    words = ["recipe=base", f"filter._target_={place}.Other", "filter.high=0.9"]
    assert load(words) == load(words[::-1])


def test_a_plugin_of_another_class_starts_afresh(place: str):
    run = load(["recipe=base", f"filter._target_={place}.Other"])
    assert run.filter == {"_target_": f"{place}.Other"}
    run = load(["recipe=base", f"filter={{_target_: {place}.Other, high: 0.7}}"])
    assert run.filter == {"_target_": f"{place}.Other", "high": 0.7}


def test_a_recipe_says_only_how_it_differs_from_the_one_it_extends(place: str, tmp_path: Path):
    (tmp_path / "child.yaml").write_text("extends: base\nfilter: {high: 0.8}\nsteps: 3\n")
    (tmp_path / "grandchild.yaml").write_text(
        f"extends: child\nfilter: {{_target_: {place}.Other}}\n"
    )
    assert load(["recipe=child"]).filter == {
        "_target_": f"{place}.Band",
        "low": 0.1,
        "high": 0.8,
    }
    run = load(["recipe=grandchild"])
    assert (run.steps, run.filter) == (3, {"_target_": f"{place}.Other"})


def test_a_recipe_may_lie_anywhere(place: str, tmp_path: Path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "mine.yaml").write_text("extends: base\nsteps: 5\n")
    run = load(["recipe=far/mine.yaml"])
    assert (run.recipe_name, run.steps) == ("mine", 5)


def test_laying_over_changes_neither_side():
    base: dict[str, Any] = {"a": {"_target_": "X", "n": 1}, "b": [1]}
    own: dict[str, Any] = {"a": {"n": 2}, "c": {"d": 3}}
    assert over(base, own) == {"a": {"_target_": "X", "n": 2}, "b": [1], "c": {"d": 3}}
    assert base == {"a": {"_target_": "X", "n": 1}, "b": [1]}
    assert own == {"a": {"n": 2}, "c": {"d": 3}}


@pytest.mark.usefixtures("place")
def test_a_setting_can_be_removed(tmp_path: Path):
    assert "low" not in load(["recipe=base", "~filter.low"]).filter
    assert "there is nothing to remove" in refusal("~filter.lo")
    assert "model: it has no default" in refusal("~model")


@pytest.mark.usefixtures("place")
def test_what_is_written_to_the_run_folder_loads_as_the_same_run(tmp_path: Path):
    run = load(["recipe=base", "steps=9"])
    (tmp_path / "again.yaml").write_text(as_yaml(run))
    assert "${" not in as_yaml(run)
    assert load(["recipe=again"]) == run


@pytest.mark.usefixtures("place")
def test_local_paths_become_absolute_and_names_on_the_hub_stay(tmp_path: Path):
    model_directory(tmp_path / "models" / "small", max_position_embeddings=4096)
    (tmp_path / "mine.py").write_text("def score(problem, text): return 1.0\n")
    run = load(["recipe=base", "model=models/small", "reward=mine.py:score", "run_dir=out"])
    assert run.model == str(tmp_path / "models" / "small")
    assert run.reward == f"{tmp_path}/mine.py:score"
    assert run.run_dir == str(tmp_path / "out")
    assert load(["recipe=base"]).model == "org/name"


@pytest.mark.usefixtures("place")
def test_loading_writes_nothing_and_stays_where_it_is(tmp_path: Path):
    before = sorted(path.name for path in tmp_path.iterdir())
    load(["recipe=base"])
    after = sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__")
    assert (after, Path.cwd()) == (before, tmp_path)


# Refusing what can't be read


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("stepz=3", ["stepz: there is no such setting", "did you mean steps?"]),
        ("lr=1e-5", ["did you mean learner.optimizer.lr or"]),
        ("learner.zero_stag=1", ["learner.zero_stag:", "did you mean learner.zero_stage?"]),
        ("rollout.max_token=5", ["did you mean sampling.max_tokens?"]),
        ("dtype=float32", ["did you mean learner.dtype or rollout.dtype?"]),
        ("steps=many", ["steps: Value 'many'", "could not be converted to Integer"]),
        ("steps=1.5", ["steps: Value '1.5'"]),
        ("steps=true", ["steps: Value 'True'"]),
        ("steps=null", ["steps:", "Incompatible value 'None'"]),
        ("learner=5", ["learner=5: it is a section"]),
        ("learner.optimizer=null", ["learner.optimizer=None: it is a section"]),
        ("rollout.worker=5", ["did you mean rollout.workers?"]),
        ("learner.optimizer.betas=[0.9]", ["Adam takes 2, got 1"]),
        ("model=???", ["model: it has no default", "add model=VALUE"]),
        ("seed=${nothing}", ["seed:", "nothing"]),
        ("steps", ["steps: it can't be read", "write steps=VALUE"]),
        ("--steps=3", ["without dashes"]),
        ("model=a=b", ["quote the value: 'model=\"a=b\"'"]),
        ("steps=1,2", ["start one run for each"]),
        ("model@there=x", ["a key has no @"]),
    ],
)
def test_a_wrong_word_is_refused_with_reason_and_remedy(word: str, parts: list[str]):
    message = refusal(word)
    for part in parts:
        assert part in message


@pytest.mark.usefixtures("place")
def test_an_unknown_recipe_names_the_nearest_and_all(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"did you mean base\?.*Recipes: base"):
        load(["recipe=bas"])
    with pytest.raises(ConfigError, match=r"recipe: missing; .*one of base"):
        load([])
    with pytest.raises(ConfigError, match="more than once"):
        load(["recipe=base", "recipe=base"])


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [1", "not YAML"),
        ("a: 1\na: 2", "not YAML"),
        ("- 1", "holds no settings"),
        ("extends: odd", r"extends itself \(odd -> odd\)"),
        ("extends: nothing", "there is no .*nothing.yaml"),
    ],
)
def test_a_recipe_that_can_not_be_read_is_refused(tmp_path: Path, text: str, reason: str):
    (tmp_path / "odd.yaml").write_text(text)
    with pytest.raises(ConfigError, match=reason):
        load(["recipe=odd"])


# Refusing what can't work


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["max_lag=-1"], ["max_lag=-1", "at least 0"]),
        (["rollouts_per_problem=0"], ["rollouts_per_problem=0", "at least 1"]),
        (["problems_per_step=10", "updates_per_step=4"], ["problems_per_step=10", "use 8 or 12"]),
        (["problems_per_step=3", "updates_per_step=4"], ["problems_per_step=3", "use 4"]),
        (["problems_per_step=1", "learner.workers=9"], ["learner.workers=9", "only 8 samples"]),
        (["min_graded=9"], ["min_graded=9", "at most 8"]),
        (["sampling.temperature=0"], ["sampling.temperature=0.0", "more than 0"]),
        (["sampling.top_p=0"], ["sampling.top_p=0.0"]),
        (["sampling.top_p=0.9"], ["sampling.top_p=0.9", "use 1.0"]),
        (["learner.optimizer.lr=0"], ["learner.optimizer.lr=0.0", "more than 0"]),
        (["learner.optimizer.lr=nan"], ["learner.optimizer.lr=nan", "finite"]),
        (["learner.optimizer.betas=[0.9,1.0]"], ["betas[1]=1.0"]),
        (["learner.zero_stage=4"], ["learner.zero_stage=4", "none of 0, 1, 2, 3"]),
        (["learner.dtype=bf16"], ["learner.dtype=bf16", "bfloat16, float32"]),
        (["learner.layout=paded"], ["did you mean padded?"]),
        (["learner.aggregation=token_mean"], ["did you mean token-mean?"]),
        (["rollout.gpus=1.5"], ["rollout.gpus=1.5", "use 2"]),
        (["rollout.gpus=0.5", "budgets.sync=0"], ["budgets.sync=0.0"]),
        (["evaluation.limit=0"], ["evaluation.limit=0"]),
        (["reward_service.max_failure_rate=2"], ["it is a share"]),
        (["checkpoint.resume=nowhere"], ["checkpoint.resume=", "auto, never"]),
        (["reward=nothing.py:f"], ["reward=", "there is no file"]),
        (["reward=brocken.py:f"], ["did you mean broken.py?"]),
        (["reward=score"], ["path/to/file.py:function"]),
        (["problems.path=gone.jsonl"], ["problems.path=gone.jsonl", "there is no"]),
        (["evaluation.problems={path: ./x}"], ["evaluation.problems.path=./x"]),
    ],
)
def test_a_setting_that_can_not_work_is_refused(words: list[str], parts: list[str]):
    message = refusal(*words)
    for part in parts:
        assert part in message


@pytest.mark.parametrize("key", [*AT_LEAST, *ABOVE_ZERO])
@pytest.mark.usefixtures("place")
def test_no_size_may_be_negative(key: str):
    assert f"{key}=-1" in refusal(f"{key}=-1")


@pytest.mark.usefixtures("place")
def test_all_that_is_wrong_is_said_at_once():
    message = refusal("max_lag=-1", "sampling.top_p=2", "learner.zero_stage=7")
    assert [line.partition("=")[0] for line in message.splitlines()] == [
        "learner.zero_stage",
        "max_lag",
        "sampling.top_p",
    ]


def test_the_tables_of_checks_name_settings_that_exist():
    assert set(AT_LEAST) | set(ABOVE_ZERO) | set(ONE_OF) <= set(known_keys())


# Refusing plug-ins


def test_a_plugin_is_refused_by_its_own_signature(place: str):
    message = refusal("filter.lo=0.1")
    assert f"filter: {place}.Band takes no argument 'lo'; did you mean low?" in message
    assert "it takes low, high" in message


def test_a_plugin_that_does_not_exist_names_the_nearest(place: str):
    assert "did you mean Band?" in refusal(f"filter._target_={place}.Bande")
    assert "there is no module 'rlvr.problms'; did you mean problems?" in refusal(
        "problems._target_=rlvr.problms.dataset.Dataset"
    )
    assert "a plug-in names its class by _target_" in refusal("advantage={}", "~advantage._target_")


@pytest.mark.usefixtures("place")
def test_a_plugin_whose_import_fails_says_why_and_where(tmp_path: Path):
    message = refusal("filter._target_=broken.Band")
    assert "No module named 'no_such_dependency'" in message and "broken.py:1" in message


def test_a_plugin_may_be_a_file(place: str):
    run = load(["recipe=base", f"filter={{_target_: '{place}.py:Other', high: 0.5}}"])
    assert built("filter", run.filter).high == 0.5


def test_a_plugin_inside_of_a_plugin_is_checked_and_built(place: str):
    inner = f"filter={{_target_: {place}.Other, inner: {{_target_: {place}.Band, LOW: 1}}}}"
    assert "takes no argument 'LOW'" in refusal(inner)
    run = load(["recipe=base", inner.replace("LOW", "low")])
    assert built("filter", run.filter).inner.low == 1


def test_a_value_that_a_constructor_refuses_names_the_setting(place: str):
    run = load(["recipe=base", f"filter={{_target_: {place}.Other, high: 3}}"])
    with pytest.raises(ConfigError, match="filter: high=3: a share is at most 1"):
        built("filter", run.filter)


# Refusing models


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        ("config.json", "has no config.json"),
        ("model.safetensors", "has no weights"),
        ("tokenizer.json", "has no tokenizer"),
    ],
)
def test_a_model_that_lacks_a_file_is_refused(tmp_path: Path, spoil: str, reason: str):
    (model_directory(tmp_path / "m") / spoil).unlink()
    assert reason in refusal("model=./m")


@pytest.mark.usefixtures("place")
def test_weights_that_were_cut_short_are_refused(tmp_path: Path):
    weights = model_directory(tmp_path / "m") / "model.safetensors"
    size = weights.stat().st_size
    weights.write_bytes(weights.read_bytes()[:-1])
    assert f"has {size - 1} bytes of {size}: it was cut short" in refusal("model=./m")
    weights.write_bytes(b"<html>")
    assert "is not a safetensors file" in refusal("model=./m")


@pytest.mark.usefixtures("place")
def test_a_missing_shard_is_named(tmp_path: Path):
    index = {"weight_map": {"w": "model.safetensors", "v": "model-2.safetensors"}}
    path = model_directory(tmp_path / "m") / "model.safetensors.index.json"
    path.write_text(json.dumps(index))
    assert "lacks model-2.safetensors" in refusal("model=./m")


@pytest.mark.usefixtures("place")
def test_a_model_that_does_not_exist_is_refused_with_the_way_to_make_one(tmp_path: Path):
    model_directory(tmp_path / "models" / "tiny")
    message = refusal("model=models/tinny")
    assert "does not exist" in message and "did you mean" in message
    assert f"python -m rlvr.tiny --out {tmp_path}/models/tinny" in message


@pytest.mark.usefixtures("place")
def test_sequences_longer_than_the_model_covers_are_refused(tmp_path: Path):
    model_directory(tmp_path / "m")
    message = refusal("model=./m", "sampling.max_prompt_tokens=100", "sampling.max_tokens=413")
    assert "= 513: the model covers 512 positions" in message
    load(["recipe=base", "model=./m", "sampling.max_prompt_tokens=100", "sampling.max_tokens=412"])


def test_a_model_of_the_hub_is_its_downloaded_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    copy = model_directory(tmp_path / "snapshot")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **_: str(copy))
    assert resolve_model("org/name") == str(copy)
    (copy / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match=r"model=org/name: .* has no tokenizer"):
        resolve_model("org/name")


def test_a_hub_that_can_not_be_reached_is_refused_with_the_way_around(
    monkeypatch: pytest.MonkeyPatch,
):
    def offline(name: str, **_: Any) -> str:
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(ConfigError, match=r"no route to host.*model=/path/to/model"):
        resolve_model("org/name")


# Arithmetic


@pytest.mark.usefixtures("place")
def test_the_arithmetic_of_a_batch_is_told():
    words = ["steps=10", "problems_per_step=128", "updates_per_step=4", "learner.workers=4"]
    words += ["max_lag=4", "rollout.concurrency=1000"]
    words += ["sampling.max_prompt_tokens=100", "sampling.max_tokens=900"]
    run = load(["recipe=base", *words])
    told = dict(arithmetic(run))
    assert told["samples per step"] == "128 problems x 8 rollouts = 1,024"
    assert told["samples per update"] == "1,024 / 4 updates = 256 (about 64 on each of 4 ranks)"
    assert told["tokens per step"] == "at most 1,024 x 1,000 = 1,024,000"
    assert "allows 256 problems" in told["in flight"]
    assert told["whole run"] == "10 steps x 4 updates = 40 updates on 10,240 samples"


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("max_lag", "updates", "batches"), [(0, 1, 1), (1, 1, 2), (3, 2, 2), (1, 2, 1)]
)
def test_slots_hold_whole_batches_of_lag(max_lag: int, updates: int, batches: int):
    run = load(["recipe=base", f"max_lag={max_lag}", f"updates_per_step={updates}"])
    assert slots(run) == batches * run.problems_per_step


# The repository's own recipes


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_of_the_repository_has_only_settings_that_exist(name: str):
    assert set(recipe(name)) <= {item.name for item in fields(RunConfig)}


def test_the_gpu_recipe_needs_no_override():
    run = load(["recipe=grpo_qwen1.5b"])
    assert run.model == "Qwen/Qwen2.5-Math-1.5B"
    assert run.rollout.workers * run.rollout.gpus + run.learner.workers * run.learner.gpus == 8
    assert run.sampling.max_prompt_tokens + run.sampling.max_tokens == 4096


def test_the_gpu_recipe_runs_on_a_cpu_with_sizes_and_paths_only(tmp_path: Path):
    model = model_directory(tmp_path / "small")
    words = [f"model={model}", f"problems.path={DOZEN}", f"evaluation.problems.path={DOZEN}"]
    words += ["rollout.gpus=0", "learner.gpus=0", "rollout.workers=1", "learner.workers=1"]
    words += ["rollout.dtype=float32", "learner.dtype=float32", "rollout.engine={}"]
    words += ["sampling.max_prompt_tokens=256", "sampling.max_tokens=128"]
    run = load(["recipe=grpo_qwen1.5b", *words])
    check(run)
    assert len(built("problems", run.problems).all()) == 12
    assert built("evaluation.problems", run.evaluation.problems or {}).all()[0].answer == "46"
