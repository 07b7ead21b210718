from pathlib import Path

import pytest

from rlvr.rewards.porting.ported import load
from rlvr.rewards.porting.styles import RewardSpecError
from rlvr.rewards.serving.jail import jailed
from rlvr.types import Message, Outcome, Problem

PROBLEM = Problem(id="p", prompt="2+2?", answer="4", source="sums", extra={"level": 3})
EXAMPLE = Path(__file__).parents[2] / "recipes/reward_example.py"

STYLES = {
    "native": "def score(problem, text):\n    return problem.answer in text",
    "native with a default": "def score(problem, text, weight=2):\n    return weight - 1.0",
    "native async": "import asyncio\nasync def score(problem, text):\n"
    "    await asyncio.sleep(0)\n    return 1",
    "verl": "def score(data_source, solution_str, ground_truth, extra_info=None):\n"
    "    assert (data_source, extra_info) == ('sums', {'level': 3})\n"
    "    return float(ground_truth in solution_str)",
    "verl with a mapping": "def score(solution_str, ground_truth, **kwargs):\n"
    "    return {'score': 1.0, 'acc': True, 'length': len(solution_str), 'note': 'x'}",
    "TRL": "def score(completions, answer, **kwargs):\n"
    "    return [1.0 if a in c else 0.0 for a, c in zip(answer, completions)]",
    "TRL with prompts": "def score(prompts, completions, level, **kwargs):\n"
    "    assert prompts == ['2+2?'] and level == [3]\n    return [1.0]",
    "OpenRLHF": "def score(queries, prompts, labels, **kwargs):\n"
    "    return {'rewards': [float(q == p + 'it is ' + l) for q, p, l in "
    "zip(queries, prompts, labels)]}",
}


def written(path, source):
    path.write_text(source)
    return f"{path}:score"


@pytest.mark.parametrize("style", STYLES)
def test_a_function_of_another_framework_runs_as_it_is(tmp_path, style):
    reward = load(written(tmp_path / "mine.py", STYLES[style]))
    verdict = reward(PROBLEM, "it is 4")
    assert (verdict.outcome, verdict.reward) == (Outcome.CORRECT, 1.0)
    assert reward.about.style == style.split()[0]
    assert verdict.verifier == reward.about.name == "mine.py:score"


def test_the_numbers_beside_a_score_are_kept(tmp_path):
    reward = load(written(tmp_path / "mine.py", STYLES["verl with a mapping"]))
    assert reward(PROBLEM, "it is 4").parts == {"acc": 1.0, "length": 7.0}


def test_a_chat_prompt_reaches_a_trl_function_as_a_chat(tmp_path):
    source = (
        "def score(prompts, completions):\n"
        "    assert prompts == [[{'role': 'user', 'content': '2+2?'}]]\n"
        "    return [1.0 if completions == [[{'role': 'assistant', 'content': '4'}]] else 0.0]"
    )
    problem = Problem(id="p", prompt=(Message(role="user", content="2+2?"),), answer="4")
    assert load(written(tmp_path / "mine.py", source))(problem, "4").reward == 1.0


@pytest.mark.parametrize(
    ("returned", "outcome", "reward"),
    [
        ("True", Outcome.CORRECT, 1.0),
        ("False", Outcome.WRONG, 0.0),
        ("1", Outcome.CORRECT, 1.0),
        ("-0.5", Outcome.WRONG, -0.5),
        ("0.99", Outcome.WRONG, 0.99),
        ("None", Outcome.ABSTAIN, None),
        ("__import__('fractions').Fraction(1, 2)", Outcome.WRONG, 0.5),
        ("__import__('numpy').float32(1)", Outcome.CORRECT, 1.0),
        ("{'score': 0.2, 'acc': 1}", Outcome.CORRECT, 0.2),
    ],
)
def test_what_a_function_returns_becomes_a_verdict(tmp_path, returned, outcome, reward):
    source = f"def score(problem, text):\n    return {returned}"
    verdict = load(written(tmp_path / "mine.py", source))(PROBLEM, "")
    assert (verdict.outcome, verdict.reward) == (outcome, reward)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("def score(problem, text):\n    return 'good'", "returned 'good' of type str; return a"),
        (
            "def score(problem, text):\n    return float('nan')",
            "returned nan; a reward is a finite",
        ),
        ("def score(problem, text):\n    return {'reward': 1}", "read from the key 'score'"),
        ("def score(completions):\n    return 1.0", "a function of batches returns a list"),
        ("def score(completions):\n    return [1.0, 1.0]", "returned 2 rewards for 1 completion"),
        (
            "def score(completions, hint):\n    return [1.0]",
            "asks for the column hint, and the problem has answer, ground_truth, id, label, level",
        ),
    ],
)
def test_what_is_no_reward_is_an_error_that_says_so_and_never_a_number(tmp_path, source, complaint):
    with jailed(written(tmp_path / "mine.py", source), seconds=5) as jail:
        verdict = jail(PROBLEM, "4")
    assert (verdict.outcome, verdict.reward) == (Outcome.ERROR, None)
    assert complaint in verdict.detail


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("def score(problem, text: pass", r"SyntaxError.*mine.py:1\): 'def score\(problem"),
        ("import nothing_here", "ModuleNotFoundError: No module named 'nothing_here'"),
        ("1/0", r"ZeroDivisionError: division by zero \(.*mine.py:1\)"),
        ("def scored(problem, text): ...", "no class or function 'score'; did you mean scored"),
        ("def f(): ...\nasync def g(): ...", "no class or function 'score'.* It has f, g"),
        ("x = 1", "no class or function 'score'. It has no function"),
        ("score = 1", "no class or function 'score'"),
        ("class score: ...", "score is a class; name it in a node with _target_"),
        ("def score(a, b): ...", r"parameters \(a, b\) follow no known convention"),
        (
            "def score(problem, text, tokenizer): ...",
            "native passes no parameter tokenizer. Give it a default",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_a_remedy(tmp_path, source, complaint):
    with pytest.raises(RewardSpecError, match=complaint):
        load(written(tmp_path / "mine.py", source))


def test_a_missing_file_is_refused_with_what_there_is(tmp_path):
    (tmp_path / "reward.py").write_text("")
    with pytest.raises(
        RewardSpecError,
        match=r"no file .*rewrad.py; did you mean reward.py\?. That directory has reward.py",
    ):
        load(f"{tmp_path}/rewrad.py:score")
    with pytest.raises(RewardSpecError, match="Nor is there that directory"):
        load(f"{tmp_path}/none/reward.py:score")


@pytest.mark.parametrize("spec", ["reward.py", "reward:score", "reward.py:", 7, {"form": "box"}])
def test_what_names_nothing_is_refused_with_how_to_name_it(spec):
    with pytest.raises(RewardSpecError, match=r"path/to/file.py:function"):
        load(spec)


def test_a_file_may_import_its_neighbours(tmp_path):
    (tmp_path / "neighbour_of_mine.py").write_text("WORTH = 1.0")
    source = "import neighbour_of_mine\ndef score(problem, text): return neighbour_of_mine.WORTH"
    assert load(written(tmp_path / "mine.py", source))(PROBLEM, "").reward == 1.0


def test_a_plug_in_is_built_from_its_node():
    reward = load({"_target_": "rlvr.rewards.math.Math", "form": "hashes", "right": 2.0})
    assert reward(PROBLEM, "#### 4").reward == 2.0
    assert (reward.about.style, reward.about.maximum) == ("plug-in", 2.0)
    assert reward(PROBLEM, reward.example(PROBLEM)).outcome is Outcome.CORRECT


@pytest.mark.parametrize(
    ("node", "complaint"),
    [
        ({"_target_": "Math"}, "with all its parts"),
        ({"_target_": "rlvr.rewards.maths.Math"}, "no module 'rlvr.rewards.maths'; did you mean"),
        ({"_target_": "rlvr.rewards.math.Maths"}, "did you mean Math"),
        ({"_target_": "rlvr.rewards.math.Math", "box": 1}, "takes no argument 'box'"),
        ({"_target_": "rlvr.rewards.math.Math", "form": "x"}, "take one of box"),
        ({"_target_": "rlvr.types.Message", "role": "", "content": ""}, "cannot be called"),
    ],
)
def test_a_plug_in_that_cannot_be_built_is_refused_with_a_remedy(node, complaint):
    with pytest.raises(RewardSpecError, match=complaint):
        load(node)


def test_a_plug_in_node_may_name_a_function_with_settings(tmp_path, monkeypatch):
    (tmp_path / "mine_by_name.py").write_text("def score(problem, text, worth): return worth")
    monkeypatch.syspath_prepend(tmp_path)
    reward = load({"_target_": "mine_by_name.score", "worth": 0.25})
    assert reward(PROBLEM, "").reward == 0.25


def test_the_example_prefers_a_short_right_answer():
    reward = load(f"{EXAMPLE}:score")
    short = reward(PROBLEM, "\\boxed{4}").reward
    long = reward(PROBLEM, "hm " * 5000 + "\\boxed{4}").reward
    assert 0.99 < short < 1
    assert long == 0.5
    assert reward(PROBLEM, "\\boxed{5}").reward == 0.0
    assert reward.about.style == "native"
