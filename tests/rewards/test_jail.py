import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rlvr.rewards.serving import jailed
from rlvr.rewards.serving.jail import Jail, JailError, Template
from rlvr.types import Outcome, Problem

HOSTILE = f"{Path(__file__).parent / 'hostile.py'}:score"


def problem(answer="4"):
    return Problem(id="p", prompt="", answer=answer)


@pytest.fixture(scope="module")
def template():
    template = Template(HOSTILE, memory_gb=0.5)
    yield template
    template.close()


@pytest.fixture
def jail(template):
    """Patient: what is quick in it never overruns, however busy the machine is."""
    with Jail(template, seconds=20) as jail:
        yield jail


@pytest.fixture
def hasty(template):
    with Jail(template, seconds=0.8) as jail:
        yield jail


def alive(pid):
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition):
    for _ in range(200):
        if condition():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.slow
@pytest.mark.parametrize("text", ["loop", "stuck in C"])
def test_an_overrun_is_a_timeout_without_a_reward_and_grading_goes_on(hasty, text):
    bad, good = hasty.grade(problem(), [text, "fine"])
    assert (bad.outcome, bad.reward) == (Outcome.TIMEOUT, None)
    assert "0.8 s" in bad.detail
    assert good.reward == 1.0
    assert (hasty.killed, hasty.died) == (1, 0)


@pytest.mark.parametrize("text", ["exit", "segfault"])
def test_a_death_is_an_error_without_a_reward_and_grading_goes_on(jail, text):
    bad, good = jail.grade(problem(), [text, "fine"])
    assert (bad.outcome, bad.reward) == (Outcome.ERROR, None)
    assert good.reward == 1.0
    assert (jail.killed, jail.died) == (0, 1)


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("memory", "MemoryError"),
        ("sys.exit", "SystemExit: 3"),
        ("raise", "ArithmeticError: no such number"),
        ("not a number", "a reward is a finite number"),
    ],
)
def test_an_exception_is_an_error_that_says_what_was_raised(jail, text, detail):
    before, bad, after = jail.grade(problem(), ["pid", text, "pid"])
    assert (bad.outcome, bad.reward) == (Outcome.ERROR, None)
    assert detail in bad.detail
    assert ".py:" in bad.detail
    assert before.reward == after.reward, "an exception costs no process"


def test_an_overrun_costs_only_the_text_that_caused_it(hasty):
    verdicts = hasty.grade(problem(), ["fine", "loop", "fine", "exit", "fine"])
    assert [v.reward for v in verdicts] == [1.0, None, 1.0, None, 1.0]


@pytest.mark.slow
def test_a_process_that_has_used_up_its_memory_is_replaced_between_texts(template):
    with Jail(template, seconds=20) as jail:
        pids = set()
        for _ in range(6):
            _, verdict = jail.grade(problem(), ["hoard", "pid"])
            pids.add(verdict.reward)
        assert (jail.killed, jail.died) == (0, 0)
    small = Template(HOSTILE, memory_gb=0.15)
    try:
        with Jail(small, seconds=20) as jail:
            first, _, second = jail.grade(problem(), ["pid", "hoard", "pid"])
            assert first.reward != second.reward
            assert (jail.killed, jail.died) == (0, 0)
    finally:
        small.close()


@pytest.mark.slow
def test_what_a_reward_started_is_killed_with_it(hasty, tmp_path):
    note = tmp_path / "pid"
    (verdict,) = hasty.grade(problem(answer=str(note)), ["child"])
    assert verdict.outcome is Outcome.TIMEOUT
    assert wait_until(lambda: not alive(int(note.read_text())))


def gone(note, count):
    pids = [int(line) for line in note.read_text().split()]
    assert len(pids) == count
    return wait_until(lambda: not any(map(alive, pids)))


@pytest.mark.slow
def test_a_daemon_ends_with_the_process_that_started_it(hasty, tmp_path):
    note = tmp_path / "pids"
    hasty.grade(problem(answer=str(note)), ["daemon"])
    assert hasty.killed == 1
    assert gone(note, 1)


def test_a_daemon_ends_though_the_process_that_started_it_died_first(jail, tmp_path):
    note = tmp_path / "pids"
    verdict, after = jail.grade(problem(answer=str(note)), ["daemon and exit", "fine"])
    assert (verdict.outcome, after.reward) == (Outcome.ERROR, 1.0)
    assert gone(note, 1)


def test_a_daemon_that_a_good_verdict_left_ends_when_the_jail_is_closed(template, tmp_path):
    note = tmp_path / "pids"
    with Jail(template, seconds=20) as jail:
        assert jail(problem(answer=str(note)), "daemon and fine").reward == 1.0
    assert gone(note, 1)


def test_a_process_that_has_left_too_many_others_behind_is_replaced(jail):
    assert jail(problem(), "forks").reward == 1.0
    before, after = (jail(problem(), "pid").reward for _ in range(2))
    assert before != after
    assert (jail.killed, jail.died) == (0, 0)


@pytest.mark.slow
def test_processes_that_multiply_end_all_together(hasty, tmp_path):
    note = tmp_path / "pids"
    bad, good = hasty.grade(problem(answer=str(note)), ["multiply", "fine"])
    assert (bad.outcome, good.reward) == (Outcome.TIMEOUT, 1.0)
    assert gone(note, 30)


def test_a_process_that_was_killed_while_idle_is_not_blamed_on_the_next_text(jail):
    pid = int(jail(problem(), "pid").reward)
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not alive(pid))
    assert jail(problem(), "fine").reward == 1.0
    assert (jail.killed, jail.died) == (0, 1)


def test_a_process_that_is_killed_while_grading_is_an_error_and_grading_goes_on(jail):
    pid = int(jail(problem(), "pid").reward)
    with ThreadPoolExecutor(1) as thread:
        verdicts = thread.submit(jail.grade, problem(), ["loop", "fine"])
        time.sleep(0.2)
        os.kill(pid, signal.SIGKILL)
        bad, good = verdicts.result(20)
    assert (bad.outcome, good.reward) == (Outcome.ERROR, 1.0)


def test_a_verdict_that_the_owner_was_too_late_to_read_still_counts(template, monkeypatch):
    with Jail(template, seconds=0.3) as jail:
        dispatch = Jail._dispatch

        def slow(self, *args):
            deadline = dispatch(self, *args)
            time.sleep(0.5)
            return deadline

        monkeypatch.setattr(Jail, "_dispatch", slow)
        assert jail(problem(), "fine").reward == 1.0


def test_standard_input_is_empty(jail):
    assert jail.grade(problem(), ["stdin"])[0].reward == 0.0


@pytest.mark.parametrize("text", ["\x00", "\udc80\ud800", "é" * 500_000, "\\boxed{" * 150_000, ""])
def test_no_text_is_too_odd_to_be_graded(jail, text):
    assert jail.grade(problem(), [text])[0].reward == 1.0


def test_threads_may_share_a_jail(jail):
    with ThreadPoolExecutor(8) as threads:
        groups = list(threads.map(lambda _: jail.grade(problem(), ["fine", "pid"]), range(40)))
    assert {verdicts[0].reward for verdicts in groups} == {1.0}
    assert len({verdicts[1].reward for verdicts in groups}) == 1


def test_a_template_that_died_is_started_again():
    template = Template(HOSTILE)
    try:
        with Jail(template, seconds=1) as jail:
            template._process.kill()
            template._process.wait(10)
            lost, found = jail.grade(problem(), ["pid", "fine"])
            assert lost.outcome in (Outcome.ERROR, Outcome.CORRECT)
            assert found.reward == 1.0
    finally:
        template.close()


def test_all_processes_end_with_their_owner():
    script = (
        "import os, sys, time\n"
        "from rlvr.rewards.serving.jail import Jail, Template\n"
        "from rlvr.types import Problem\n"
        f"template = Template({HOSTILE!r})\n"
        "jail = Jail(template, seconds=5)\n"
        "verdict = jail.grade(Problem(id='', prompt='', answer=''), ['pid'])[0]\n"
        "print(template._process.pid, int(verdict.reward), flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, timeout=60
    )
    pids = [int(pid) for pid in run.stdout.split()]
    assert len(pids) == 2, run.stderr
    assert wait_until(lambda: not any(map(alive, pids)))


def test_closing_ends_the_template_and_its_copies():
    template = Template(HOSTILE)
    jail = Jail(template, seconds=5)
    pid = int(jail(problem(), "pid").reward)
    template.close()
    assert wait_until(lambda: not alive(pid))
    with pytest.raises(JailError, match="closed"):
        jail(problem(), "fine")


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("def score(problem, text: return 1", r"SyntaxError.*bad.py.*line 1"),
        ("import os; os._exit(7)", r"died \(20 s, exit code 7\)"),
        ("import no_such_module", r"ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit('no licence')", r"bad.py.*SystemExit: no licence"),
        (
            "import os, time; os.closerange(3, 64); time.sleep(0.3); os._exit(7)",
            r"died \(20 s, exit code 7\)",
        ),
    ],
)
def test_a_reward_that_cannot_be_loaded_is_refused_with_the_reason(tmp_path, source, complaint):
    file = tmp_path / "bad.py"
    file.write_text(source)
    with pytest.raises(JailError, match=f"(?s){complaint}"):
        Template(f"{file}:score", start_seconds=20)


@pytest.mark.slow
def test_a_reward_that_hangs_while_loading_is_refused_and_killed(tmp_path):
    file = tmp_path / "bad.py"
    pid = tmp_path / "pid"
    file.write_text(
        f"import os, pathlib\npathlib.Path({str(pid)!r}).write_text(str(os.getpid()))\n"
        "while True: pass\n"
    )
    with pytest.raises(JailError, match="took longer than start_seconds"):
        Template(f"{file}:score", start_seconds=1.5)
    assert not alive(int(pid.read_text()))


def test_grading_needs_no_process_of_its_own_caller(jail):
    assert jail.grade(problem(), ["pid"])[0].reward != os.getpid()


GROUPS = """
import os, time

def score(prompts, completions, **columns):
    calls = getattr(score, "calls", 0) + 1
    score.calls = calls
    if "loop" in completions:
        time.sleep(600)
    if "exit" in completions:
        os._exit(3)
    if "raise" in completions:
        raise ArithmeticError("no such number")
    return [calls + index / 100 for index, _ in enumerate(completions)]
"""


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    file = tmp_path_factory.mktemp("groups") / "groups.py"
    file.write_text(GROUPS)
    template = Template(f"{file}:score")
    yield template
    template.close()


def test_a_batched_reward_sees_a_group_in_one_call(groups):
    with Jail(groups, seconds=5) as jail:
        assert [v.reward for v in jail.grade(problem(), ["a", "b", "c"])] == [1.0, 1.01, 1.02]
        assert [v.reward for v in jail.grade(problem(), ["a"])] == [2.0]
        assert jail.grade(problem(), []) == []


@pytest.mark.parametrize(
    ("text", "outcome"),
    [("loop", Outcome.TIMEOUT), ("exit", Outcome.ERROR), ("raise", Outcome.ERROR)],
)
def test_a_group_that_fails_has_no_verdict_for_any_of_its_texts(groups, text, outcome):
    with Jail(groups, seconds=0.3) as jail:
        began = time.monotonic()
        failed = jail.grade(problem(), ["a", text, "c"])
        assert [(v.outcome, v.reward) for v in failed] == [(outcome, None)] * 3
        assert outcome is not Outcome.TIMEOUT or time.monotonic() - began >= 0.9
        assert all(v.reward is not None for v in jail.grade(problem(), ["a", "b"]))


JUDGE = """
from rlvr.types import Outcome, Verdict

class Judge:
    judged = 0

    def key(self, problem, text):
        return None if text.startswith("look") else text.split("=")[-1]

    def __call__(self, problem, text):
        self.judged += 1
        match text:
            case "not a verdict":
                return 1.0
            case "nan":
                return Verdict(outcome=Outcome.CORRECT, reward=float("nan"))
            case "odd":
                return Verdict(outcome=Outcome.CORRECT, reward=True, extracted=self)
            case "fail":
                return Verdict(outcome=Outcome.ERROR, reward=None, parts={"judged": self.judged})
        return Verdict(
            outcome=Outcome.CORRECT, reward=1, extracted=text, parts={"judged": self.judged}
        )
"""


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judge")
    (folder / "a_judge.py").write_text(JUDGE)
    sys.path.insert(0, str(folder))
    template = Template({"_target_": "a_judge.Judge"})
    sys.path.remove(str(folder))
    yield template
    template.close()


def judged(jail, texts, **changes):
    problem = Problem(**{"id": "p", "prompt": "", "answer": "4"} | changes)
    return [int(v.parts["judged"]) for v in jail.grade(problem, texts)]


def test_texts_of_equal_keys_are_judged_once(judge):
    with Jail(judge, seconds=5, cache=10) as jail:
        assert judged(jail, ["x=1", "y=1", "x=2", "1"]) == [1, 1, 2, 1]
        assert [one.cached for one in jail.judge(problem(), ["x=1", "x=3"])] == [1, 0]


@pytest.mark.parametrize(
    "changes",
    [{"answer": "5"}, {"prompt": "?"}, {"source": "s"}, {"extra": {"tests": [1]}}],
)
def test_a_verdict_on_another_problem_is_not_taken_for_this_ones(judge, changes):
    with Jail(judge, seconds=5, cache=10) as jail:
        assert judged(jail, ["1"]) == [1]
        assert judged(jail, ["1"], **changes) == [2]
        assert judged(jail, ["1"], id="the same row once more") == [1]


def test_what_has_no_key_and_what_failed_is_judged_each_time(judge):
    with Jail(judge, seconds=5, cache=10) as jail:
        assert judged(jail, ["look", "look", "fail", "fail"]) == [1, 2, 3, 4]


def test_without_a_cache_every_text_is_judged(judge):
    with Jail(judge, seconds=5) as jail:
        assert judged(jail, ["1", "1"]) == [1, 2]


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("not a verdict", "returned a float"),
        ("nan", "finite number"),
        ("odd", "returned a Judge"),
    ],
)
def test_what_no_verdict_can_be_is_an_error(judge, text, detail):
    with Jail(judge, seconds=5) as jail:
        verdict = jail(problem(), text)
        assert (verdict.outcome, verdict.reward) == (Outcome.ERROR, None)
        assert detail in verdict.detail


def test_rewards_and_parts_are_plain_numbers(judge):
    with Jail(judge, seconds=5) as jail:
        verdict = jail(problem(), "1")
        assert type(verdict.reward) is float and type(verdict.parts["judged"]) is float


@pytest.mark.slow
def test_what_a_reward_that_hangs_while_loading_has_started_is_killed_with_it(tmp_path):
    file, note = tmp_path / "bad.py", tmp_path / "pid"
    file.write_text(
        "import pathlib, subprocess, time\n"
        "child = subprocess.Popen(['sleep', '20'])\n"
        f"pathlib.Path({str(note)!r}).write_text(str(child.pid))\n"
        "time.sleep(20)\n"
    )
    with pytest.raises(JailError, match="took longer than start_seconds"):
        Template(f"{file}:score", start_seconds=1.5)
    assert wait_until(lambda: not alive(int(note.read_text())))


def test_a_reward_that_starts_a_jail_while_it_is_loaded_is_refused(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from rlvr.rewards.serving.jail import Template\n"
        "def score(problem, text):\n    return 1.0\n"
        "Template(__file__ + ':score', start_seconds=10)\n"
    )
    with pytest.raises(JailError, match=r"must not start a jail.*__main__") as refused:
        Template(f"{file}:score", start_seconds=10)
    assert str(refused.value).count("must not start a jail") == 1, "refused at the first level"


ODD = """
import os
from rlvr.types import Outcome, Verdict

print("loading")

class Word(str):
    pass

def score(problem, text):
    if text == "junk":
        for descriptor in range(3, 64):
            try:
                os.write(descriptor, bytes(7) + b"\\x05hello")
            except OSError:
                pass
    if text == "print":
        print("grading")
    held = {text: Word("w")} if text in ("detail", "verifier", "extracted") else {}
    return Verdict(outcome=Outcome.CORRECT, reward=float(len(text)), **held)
"""


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    file = tmp_path_factory.mktemp("odd") / "odd.py"
    file.write_text(ODD)
    template = Template(f"{file}:score")
    yield template
    template.close()


@pytest.mark.parametrize("text", ["detail", "verifier", "extracted", "junk"])
def test_what_cannot_be_read_is_an_error_and_every_text_keeps_its_own_verdict(odd, text):
    with Jail(odd, seconds=20) as jail:
        bad, good = jail.grade(problem(), [text, "fine!"])
        assert (bad.outcome, bad.reward) == (Outcome.ERROR, None)
        assert [good.reward, *(v.reward for v in jail.grade(problem(), ["a", "ab"]))] == [5, 1, 2]


def test_a_verdict_that_nobody_waited_for_is_not_taken_for_the_next_ones(odd, monkeypatch):
    with Jail(odd, seconds=20) as jail:

        def interrupted(*_, **__):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr("rlvr.rewards.serving.jail.receive", interrupted)
            jail.grade(problem(), ["a", "ab"])
        assert [v.reward for v in jail.grade(problem(), ["abc", "abcd"])] == [3, 4]


def test_what_a_reward_prints_is_printed_at_once_and_once(tmp_path, capfd):
    file = tmp_path / "odd.py"
    file.write_text(ODD)
    template = Template(f"{file}:score")
    try:
        for _ in range(2):
            with Jail(template, seconds=20) as jail:
                jail(problem(), "print")
        assert capfd.readouterr().out.split() == ["loading", "grading", "grading"]
    finally:
        template.close()


def test_a_machine_that_grants_no_process_is_said_so(odd, monkeypatch):
    def refused(*_):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patch, pytest.raises(JailError, match=r"temporarily.*ulimit -u"):
        patch.setattr(odd, "_order", refused)
        Jail(odd, seconds=1)
    with Jail(odd, seconds=20) as jail:
        assert jail(problem(), "fine").reward == 4.0


def test_a_limit_of_memory_that_a_user_may_not_raise_is_kept(monkeypatch):
    limits = {}
    monkeypatch.setattr(jailed.resource, "getrlimit", lambda _: (-1, 4096))
    monkeypatch.setattr(jailed.resource, "setrlimit", limits.__setitem__)
    jailed._limit_memory(2**30)
    assert limits[jailed.resource.RLIMIT_AS] == (4096, 4096)


def test_a_key_that_is_no_text_is_an_error_that_says_so(tmp_path, monkeypatch):
    (tmp_path / "keyed.py").write_text(
        "from rlvr.types import Outcome, Verdict\n"
        "class Keyed:\n"
        "    def key(self, problem, text):\n        return [text]\n"
        "    def __call__(self, problem, text):\n"
        "        return Verdict(outcome=Outcome.CORRECT, reward=1.0)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    template = Template({"_target_": "keyed.Keyed"})
    try:
        with Jail(template, seconds=20, cache=8) as jail:
            verdict = jail(problem(), "fine")
            assert (verdict.outcome, jail.died) == (Outcome.ERROR, 0)
            assert "key returned a list" in verdict.detail
    finally:
        template.close()
