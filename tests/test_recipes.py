"""The recipes of the repository: small, about one method, and as the grid says."""

import ast
import re
from pathlib import Path

import pytest
import torch
import yaml

from rlvr import recipes
from rlvr.algorithm import algorithm
from rlvr.config import ConfigError
from rlvr.config_checks import built

README = (recipes.RECIPES / "README.md").read_text()
METHODS = {
    "areal": ("ReinforcePp", "Decoupled", "Everything"),
    "cispo": ("Grpo", "Cispo", "BalancedBand"),
    "confucius": ("Pshw", "Clipped", "BalancedBand"),
    "dapo": ("Grpo", "Clipped", "BalancedBand"),
    "dpo": ("CorrectVersusWrong", "Dpo", "BalancedBand"),
    "dr_grpo": ("DrGrpo", "Clipped", "Everything"),
    "grpo": ("Grpo", "Clipped", "Everything"),
    "gspo": ("Grpo", "Gspo", "BalancedBand"),
    "kimi": ("DrGrpo", "Kimi", "BalancedBand"),
    "nft": ("DrGrpo", "Nft", "BalancedBand"),
    "one_shot": ("Grpo", "Clipped", "Everything"),
    "ppo": ("Gae", "Clipped", "Everything"),
    "reinforce_pp": ("ReinforcePp", "Clipped", "Everything"),
    "rft": ("Reinforce", "PositiveNll", "AnyCorrect"),
    "rloo": ("Rloo", "Reinforce", "Everything"),
    "topr": ("Reinforce", "Topr", "Everything"),
    "vapo": ("LengthAdaptiveGae", "Clipped", "Everything"),
    "vc_ppo": ("Gae", "Clipped", "Everything"),
}
PLAIN = {"grpo_qwen1.5b", "grpo_tiny", "grpo_puzzles"}
"""Named after what they run on."""
FILTERS = {"Everything": "all", "BalancedBand": "mixed", "AnyCorrect": "solved"}
NUMBER = re.compile(r"\d{4}\.\d{5}")


def load(name: str, *words: str) -> recipes.RunConfig:
    return recipes.load([f"recipe={name}", *words], model=False)


def source(name: str) -> str:
    return (recipes.RECIPES / f"{name}.yaml").read_text()


def row(name: str) -> list[str]:
    """The cells of the grid, which stands before the table of what recipes learn."""
    grid, _, _ = README.partition("<!-- made by bench/learning.py -->")
    (line,) = [line for line in grid.splitlines() if line.startswith(f"| [{name}]({name}.yaml) |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_every_recipe_is_known_here():
    assert set(recipes.names()) == METHODS.keys() | PLAIN


@pytest.mark.parametrize("name", METHODS)
def test_a_recipe_is_made_of_what_its_method_is_made_of(name):
    run = load(name)
    made = algorithm(run)
    parts = (made.estimator, made.objective.loss, built("filter", run.filter))
    assert tuple(type(part).__name__ for part in parts) == METHODS[name]


@pytest.mark.parametrize("name", METHODS)
def test_a_recipe_is_short_extends_another_and_names_its_paper(name):
    text = source(name)
    assert 10 <= len(text.splitlines()) <= 25
    assert yaml.safe_load(text)["extends"] in recipes.names()
    assert text.startswith("# ") and NUMBER.search(text.partition("extends:")[0])


@pytest.mark.parametrize("name", METHODS)
def test_a_recipe_says_nothing_that_holds_without_it(name):
    own = {key: value for key, value in yaml.safe_load(source(name)).items() if key != "extends"}
    base = recipes.recipe(yaml.safe_load(source(name))["extends"])
    for key in own:
        if key not in ("learner", "advantage", "filter"):  # a method names these in any case
            assert recipes.over(base, {key: own[key]}) != base, key


@pytest.mark.parametrize("name", METHODS)
def test_the_grid_has_a_row_for_it_that_is_right(name):
    cells, run = row(name), load(name)
    assert len(cells) == 9
    assert NUMBER.search(source(name)).group() in cells[1]
    assert cells[5] == run.learner.aggregation
    assert cells[6] == FILTERS[METHODS[name][2]]
    made = algorithm(run)
    assert ("critic" in cells[7]) == made.has_critic == ("critic" in cells[8])
    assert ("reference" in cells[7]) == made.needs_reference == ("reference" in cells[8])


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_the_grid_has_a_row_for_the_others_too(name):
    assert len(row(name)) == 9


@pytest.mark.parametrize("name", METHODS)
def test_over_tiny_changes_the_cluster_and_the_data_and_nothing_of_the_method(name):
    there, here = load(name), load(name, "over=tiny")
    assert here.rollout.gpus == here.learner.gpus == 0
    assert here.model.endswith("models/tiny")
    assert here.problems["_target_"] == "rlvr.problems.arithmetic.Arithmetic"
    for key in ("filter", "advantage", "reward_kl", "updates_per_step", "max_lag"):
        assert getattr(here, key) == getattr(there, key), key
    for key in ("loss", "terms", "corrections", "aggregation", "reference"):
        assert getattr(here.learner, key) == getattr(there.learner, key), key
    assert (here.learner.critic is None) == (there.learner.critic is None)
    assert [node["_target_"] for node in here.shaping] == [n["_target_"] for n in there.shaping]


def test_a_layer_lies_between_the_recipe_and_the_words():
    assert load("dapo", "over=tiny").sampling.max_tokens == 128
    assert load("dapo", "over=tiny", "sampling.max_tokens=64").sampling.max_tokens == 64
    assert load("dapo", "sampling.max_tokens=64", "over=tiny").sampling.max_tokens == 64


def test_a_layer_may_be_a_file_of_ones_own(tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_text("rollout: {workers: 3}\nlearner: {critic: {value_clip: 0.4}}\n")
    assert load("dapo", f"over={path}").rollout.workers == 3
    assert load("dapo", f"over={path}").learner.critic is None
    critic = load("ppo", f"over={path}").learner.critic
    assert (critic.value_clip, critic.optimizer.lr) == (0.4, 5e-6)
    assert load("ppo", f"over={path}").recipe_name == "ppo"


def test_a_layer_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(ConfigError, match=r"over=tin: .*there are tiny"):
        load("dapo", "over=tin")


def code_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_code_of_the_readme_gives_what_is_written_beside_it():
    names: dict = {}
    checked = []
    for block in code_blocks():
        exec(block, names)
        for name, written in re.findall(r"^(\w+) = .*  # (.+)$", block, flags=re.MULTILINE):
            value = names[name]
            value = value.tolist() if isinstance(value, torch.Tensor) else value
            assert value == pytest.approx(ast.literal_eval(written)), name
            checked.append(name)
    assert set(checked) == {
        *("advantages", "loss", "gradient", "per_token", "sequence_loss", "on_policy_loss"),
        *("estimates", "weights", "first", "scaled", "credit"),
    }


def test_the_loss_of_ones_own_is_a_policy_gradient_on_policy():
    names: dict = {}
    exec(code_blocks()[0], names)
    logprobs_T = torch.tensor([-1.0, -2.0], dtype=torch.float64, requires_grad=True)
    advantages_T = torch.tensor([2.0, -1.0], dtype=torch.float64)
    inputs = names["LossInputs"](
        logprobs_T=logprobs_T,
        sampled_logprobs_T=logprobs_T.detach(),
        advantages_T=advantages_T,
        weights_T=torch.full((2,), 0.5, dtype=torch.float64),
        mask_T=torch.ones(2, dtype=torch.bool),
        entropy_T=torch.zeros(2, dtype=torch.float64),
    )
    names["Sigmoid"](steepness=4.0)(inputs).loss.backward()
    assert logprobs_T.grad.tolist() == pytest.approx((-advantages_T / 2).tolist())


def test_the_words_of_the_readme_load():
    commands = re.findall(r"^python -m rlvr\.train (.*?)(?:  +#.*)?$", README, flags=re.MULTILINE)
    loaded = [word for word in commands if "mine.yaml" not in word]
    assert len(loaded) >= 7
    for words in loaded:
        recipes.load([word.strip('"') for word in words.split()], model=False)


def test_links_of_the_readme_lead_somewhere():
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert Path(recipes.RECIPES, link).exists(), link
