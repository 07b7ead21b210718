"""What cannot work is refused in one message, before Ray starts."""

import json
import shutil

import psutil
import pytest

from rlvr import preflight, train
from rlvr.rollout.prompt import TOKENIZER_FILES

pytestmark = pytest.mark.slow


@pytest.fixture
def model(random_model, tmp_path):
    """A model directory that a test may damage."""
    return shutil.copytree(random_model, tmp_path / "model")


@pytest.fixture
def refused(monkeypatch, capsys, tmp_path):
    """Run the command with settings; give the one message that it refuses with."""

    def no_cluster(*_args, **_settings):
        raise AssertionError("a cluster was started for settings that cannot work")

    monkeypatch.setattr(train, "Cluster", no_cluster)

    def run(*settings):
        code = train.main(["recipe=grpo_tiny", f"run_dir={tmp_path}/run", *settings])
        captured = capsys.readouterr()
        assert code == 2, captured
        assert "Traceback" not in captured.err
        assert not (tmp_path / "run").exists()
        return captured.err

    return run


def dataset(tmp_path, *rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ("problems._target_=rlvr.problems.dataset.Dataset", f"problems.path={path}")


@pytest.mark.slow
def test_a_row_without_an_answer(refused, model, tmp_path):
    rows = dataset(tmp_path, {"question": "1+1?", "answer": "2"}, {"question": "2+2?"})
    message = refused(f"model={model}", *rows)
    assert "rows.jsonl:2" in message and "answer" in message


@pytest.mark.slow
def test_an_empty_dataset(refused, model, tmp_path):
    message = refused(f"model={model}", *dataset(tmp_path))
    assert "rows.jsonl" in message and "no row" in message


def test_a_reward_file_with_a_syntax_error(refused, model, tmp_path):
    (tmp_path / "mine.py").write_text("def score(problem, text)\n    return 1\n")
    message = refused(f"model={model}", f"reward={tmp_path}/mine.py:score")
    assert "mine.py" in message and "SyntaxError" in message and "1" in message


def test_a_reward_function_that_is_not_there(refused, model, tmp_path):
    (tmp_path / "mine.py").write_text("def score(problem, text):\n    return 1\n")
    message = refused(f"model={model}", f"reward={tmp_path}/mine.py:scroe")
    assert "score" in message


def test_a_model_that_does_not_exist(refused, tmp_path):
    message = refused(f"model={tmp_path}/nothing")
    assert "nothing" in message and "python -m rlvr.tiny" in message


def test_a_model_without_a_tokenizer(refused, model):
    for name in TOKENIZER_FILES:
        (model / name).unlink(missing_ok=True)
    assert "tokenizer" in refused(f"model={model}")


@pytest.mark.slow
def test_too_little_disk(refused, model, monkeypatch):
    usage = preflight.shutil.disk_usage("/")._replace(free=10**6)
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: usage)
    message = refused(f"model={model}")
    assert "free" in message and "checkpoint.keep" in message


@pytest.mark.slow
def test_too_little_memory(refused, model, monkeypatch):
    memory = psutil.virtual_memory()._replace(available=10**8)
    monkeypatch.setattr(preflight.psutil, "virtual_memory", lambda: memory)
    message = refused(f"model={model}")
    assert "rollout.workers" in message


@pytest.mark.slow
def test_prompts_that_are_all_too_long(refused, model):
    assert "sampling.max_prompt_tokens=1" in refused(
        f"model={model}", "sampling.max_prompt_tokens=1"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("stepz=3", "did you mean steps?"),
        ("steps=many", "many"),
        ("updates_per_step=5", "can't share it equally"),
        ("learner.dtype=bfloat16", "zero_stage"),
    ],
)
def test_a_wrong_setting(refused, model, setting, says):
    settings = [f"model={model}", setting]
    if "bfloat16" in setting:
        settings.append("learner.zero_stage=0")
    assert says in refused(*settings)
