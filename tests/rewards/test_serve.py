import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from rlvr.rewards import serve
from rlvr.rewards.serve import main

ROOT = Path(__file__).parents[2]
SMALL = ("recipe=grpo_tiny", "problems.size=16", "reward_service.seconds=1", "port=0")


class Serving:
    """The command, in a process of its own."""

    def __init__(self, *words):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rlvr.rewards.serve", *SMALL, *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.told = self.process.stdout.readline()
        self.url = self.told.rpartition(" ")[2].strip()

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return answer.status, answer.read().decode()

    def post(self, body, path="/grade"):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as refused:
            return refused.code, json.loads(refused.read())

    def rewards(self, *texts, **problem):
        status, answer = self.post({"problem": {"answer": "4"} | problem, "texts": texts})
        assert status == 200, answer
        return [verdict["reward"] for verdict in answer["verdicts"]]

    def family(self):
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, number=signal.SIGTERM):
        """Exit code and what it complained of; nothing that it started is left."""
        family = self.family() if self.process.poll() is None else []
        if self.process.poll() is None:
            self.process.send_signal(number)
        _, complaints = self.process.communicate(timeout=30)
        _, alive = psutil.wait_procs(family, timeout=10)
        assert alive == []
        return self.process.returncode, complaints


@pytest.fixture(scope="module")
def serving():
    serving = Serving()
    assert serving.told, serving.end()
    yield serving
    assert serving.end() == (0, "")


@pytest.mark.slow
def test_it_says_what_it_serves_and_is_healthy_once_it_does(serving):
    assert serving.told.startswith("rlvr: Math (plug-in) at http://127.0.0.1:")
    assert serving.get("/health") == (200, '{"status": "ready"}')


@pytest.mark.slow
def test_texts_are_graded_one_by_one_and_in_batches(serving):
    assert serving.rewards("\\boxed{4}", "\\boxed{5}", "4", "\ud800\x00") == [1.0, 0, 0, 0]
    batch = [{"problem": {"answer": a}, "texts": ["\\boxed{4}"]} for a in "45"]
    status, answer = serving.post({"batch": batch})
    outcomes = [one["verdicts"][0]["outcome"] for one in answer["batch"]]
    assert (status, outcomes) == (200, ["correct", "wrong"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "path", "status", "reason"),
    [
        (b"{", "/grade", 400, "no JSON"),
        ({"problem": {"answer": 4}, "texts": []}, "/grade", 400, "answer is a number"),
        (b"x" * (64 * 2**20 + 1), "/grade", 413, "exceeded"),
        ({}, "/judge", 404, "Not Found"),
    ],
)
def test_a_refusal_is_json_with_the_reason(serving, body, path, status, reason):
    refused, answer = serving.post(body, path)
    assert (refused, answer["error"]["status"]) == (status, status)
    assert reason in answer["error"]["reason"]
    assert serving.rewards("\\boxed{4}") == [1.0]


@pytest.mark.slow
def test_metrics_count_what_was_graded(serving):
    serving.rewards("\\boxed{4}")
    status, text = serving.get("/metrics")
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert status == 200
    assert float(values['rlvr_reward_verdicts_total{outcome="correct"}']) >= 1
    assert float(values["rlvr_reward_ready"]) == 1


@pytest.mark.slow
def test_a_users_own_function_is_served_and_one_that_hangs_ends_with_the_server(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import time\n"
        "def score(problem, text):\n"
        "    if text == 'hang':\n"
        "        time.sleep(600)\n"
        "    return len(text)\n"
    )
    serving = Serving(f"reward={file}:score", "reward_service.processes=1")
    try:
        assert serving.rewards("ab", "hang", "abc") == [2.0, None, 3.0]
        assert serving.family()
    finally:
        assert serving.end(signal.SIGINT)[0] == 0


@pytest.mark.slow
def test_nothing_is_left_of_a_server_that_is_killed():
    serving = Serving()
    family = serving.family()
    assert family
    os.kill(serving.process.pid, signal.SIGKILL)
    serving.process.communicate(timeout=30)
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []


@pytest.mark.slow
def test_a_reward_that_fails_its_self_test_is_not_served(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def score(problem, text):\n    raise ArithmeticError('no such number')\n")
    code, complaints = Serving(f"reward={file}:score").end()
    assert code == 1
    assert "self-test" in complaints and "no such number" in complaints


@pytest.mark.slow
def test_a_server_that_is_told_to_end_while_it_loads_ends(tmp_path):
    file = tmp_path / "slow.py"
    note = tmp_path / "loading"
    file.write_text(
        f"import pathlib, time\npathlib.Path({str(note)!r}).touch()\ntime.sleep(3)\n"
        "def score(problem, text):\n    return 1\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "rlvr.rewards.serve", *SMALL, f"reward={file}:score"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    for _ in range(300):
        if note.exists():
            break
        time.sleep(0.1)
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    told, _ = process.communicate(timeout=30)
    assert (process.returncode, told) == (0, b"")
    assert psutil.wait_procs(family, timeout=10)[1] == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["recipe=grpo_tiny", "port=http"], "port=http: a port is a number"),
        (["recipe=grpo_tiny", "port=70000"], "port=70000"),
        (["port=1"], "recipe: missing"),
        (["recipe=grpo_tiny", "reward_service.quotas={math: 0}"], r"quotas.math=0"),
        (["recipe=grpo_tiny", "reward_service.max_waiting=0"], "max_waiting=0"),
    ],
)
def test_settings_that_can_not_work_are_refused(words, complaint, capsys):
    assert main(words) == 2
    assert complaint in capsys.readouterr().err


def test_a_problem_that_is_nested_too_deeply_is_refused_and_not_a_failure_of_the_server():
    async def handler(_):
        raise RecursionError("maximum recursion depth exceeded while pickling an object")

    answer = asyncio.run(serve._errors_as_json(None, handler))
    assert answer.status == 400
    assert b"nested too deeply" in answer.body
