"""Imports point one way, toward ``types``, and a heavy package stays in its one place."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import rlvr

ROOT = Path(rlvr.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

CONTRACTS = {"types", "remote", "metrics"}
# A part may import itself, the contracts, what stands here, and the standard library.
MAY_IMPORT = {
    "types": set(),
    "remote": set(),
    "plugin_files": set(),
    "plugin": {"plugin_files"},
    "metric_tables": set(),
    "metrics": {"metric_tables"},
    "puzzles": set(),
    "ragged": set(),
    "problems": CONTRACTS | {"puzzles"},
    "rewards": CONTRACTS | {"plugin", "puzzles"},
    "difficulty": CONTRACTS,
    "advantages": CONTRACTS | {"ragged"},
    "sinks": CONTRACTS,
    "weights": CONTRACTS,
    "kernels": set(),
    "rollout": CONTRACTS | {"weights"},
    "learner": CONTRACTS | {"weights", "kernels", "plugin"},
    "config": {"plugin"},
    "model_directory": {"config"},
    "config_checks": {"config", "plugin", "model_directory"},
    "recipes": {"config", "config_checks", "plugin", "model_directory"},
    "memory": set(),
    "preflight": {"config", "learner"},
    "stacks": {"remote"},
    "cluster": {"config", "remote", "stacks", "plugin_files"},
    "checkpoint": {"types"},
    "step_report": {"types", "metrics"},
    "credit": {"types", "ragged"},
    "loop": {"types", "metrics", "step_report", "credit"},
    "probing": CONTRACTS | {"rollout"},
    "tiny": {"problems"},
}
# What the loop and its credit know of the parts: their contracts.
LOOP_CONTRACTS = {
    "rlvr.advantages.base",
    "rlvr.difficulty.base",
    "rlvr.problems.base",
    "rlvr.sinks.base",
}
ENTRY_POINTS = {
    "train",
    "evaluate",
    "assembly",
    "report",
    "gold",
    "graders",
    "algorithm",
    "algorithm_checks",
}
# Entry points that lie beside the part that they are about.
COMMANDS = {"problems/check.py", "rewards/test.py", "rewards/serve.py"}
ONLY_IN = {
    "torch": {"learner", "kernels", "weights", "rollout", "tiny"},
    "deepspeed": {"learner"},
    "peft": {"learner"},
    "vllm": {"rollout"},
    "ray": {"cluster"},
    "hydra": {"config", "recipes", "train"},
    "omegaconf": {"config", "recipes", "train"},
    "wandb": {"sinks"},
    "tensorboardX": {"sinks"},
    "math_verify": {"rewards"},
    "aiohttp": {"rewards"},
    "reasoning_gym": {"puzzles"},
}


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    part = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if part == "__init__":
        return
    for name in imports(path):
        top, *rest = name.split(".")
        assert part in ONLY_IN.get(top, {part}), f"{part} imports {top}"
        if top != "rlvr" or part in ENTRY_POINTS or rest[0] == part:
            continue
        if str(path.relative_to(ROOT)) in COMMANDS:
            continue
        if part in ("loop", "credit") and name.rpartition(".")[0] in LOOP_CONTRACTS:
            continue
        assert rest[0] in MAY_IMPORT[part], f"{part} imports {name}"


def test_init_files_are_empty():
    assert [p for p in MODULES if p.name == "__init__.py" and p.read_text().strip()] == []


@pytest.mark.parametrize(
    "module", ["rlvr.loop", "rlvr.types", "rlvr.rewards.math", "rlvr.difficulty.band"]
)
def test_imports_without_anything_heavy(module):
    heavy = "torch", "vllm", "ray", "deepspeed", "transformers", "sympy", "hydra"
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.strip() == "[]"
