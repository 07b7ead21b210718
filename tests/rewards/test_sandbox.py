import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlvr.rewards.sandbox import plain
from rlvr.rewards.sandbox.box import Sandbox, SandboxError
from rlvr.rewards.sandbox.jobs import Call, Expression, Program, Script


@pytest.fixture(scope="module")
def box():
    try:
        with Sandbox(memory_mb=256, scratch_mb=4, output_mb=0.5, processes=16).open() as opened:
            yield opened
    except SandboxError as e:
        pytest.skip(str(e))


def run(box, source, stdin=b"", seconds=2.0, **named):
    return box.run(Program(source=source, stdin=stdin), seconds=seconds, **named)


def last_line(run):
    return run.stderr.decode().strip().rpartition("\n")[2]


def test_a_program_reads_stdin_and_prints(box):
    ended = run(box, "print(input()[::-1])", b"abc\n")
    assert (ended.code, ended.stopped, ended.stdout) == (0, "", b"cba\n")


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("raise SystemExit(3)", 3),
        ("raise SystemExit('no')", 1),
        ("1 / 0", 1),
        ("this is no Python", 1),
        ("import os; os._exit(7)", 7),
        ("import ctypes; ctypes.string_at(0)", -11),
        ("import os; os.abort()", -6),
        ("x = '\0'", 1),
    ],
)
def test_an_exit_code_or_a_signal_comes_back(box, source, code):
    assert run(box, source).code == code


def test_threads_that_are_not_daemons_and_exit_handlers_run_to_their_end(box):
    source = """
import atexit, threading, time
atexit.register(print, "handler")
threading.Thread(target=lambda: (time.sleep(0.05), print("thread"))).start()
"""
    assert run(box, source).stdout == b"thread\nhandler\n"


def test_deep_recursion_and_large_integers_are_no_obstacle(box):
    source = """
import sys
from functools import cache
sys.setrecursionlimit(10**6)
@cache
def f(n): return 0 if n == 0 else 1 + f(n - 1)
print(f(20000), len(str(2**20000)))
"""
    assert run(box, source).stdout == b"20000 6021\n"


def test_an_endless_loop_is_stopped_by_its_time(box):
    ended = run(box, "while True: pass", seconds=0.3)
    assert (ended.stopped, ended.code) == ("time", -9)
    assert ended.used >= 0.25


def test_sleep_counts_as_time(box):
    assert run(box, "import time; time.sleep(60)", seconds=0.2).stopped == "time"


def test_endless_output_is_stopped_at_the_cap(box):
    ended = run(box, "while True: print('x' * 1000)")
    assert ended.stopped == "output"
    assert len(ended.stdout) == 512 * 1024


def test_endless_errors_are_stopped_and_their_tail_is_kept(box):
    ended = run(box, "import sys\nwhile True: sys.stderr.write('x' * 1000)")
    assert ended.stopped == "output"
    assert 0 < len(ended.stderr) <= 4000


def test_memory_of_one_process_is_bounded(box):
    assert last_line(run(box, "x = bytearray(1 << 30)")) == "MemoryError"


def test_memory_of_all_processes_together_is_bounded(box):
    source = """
import os, time
for _ in range(6):
    if os.fork() == 0:
        break
x = bytearray(b"1" * (100 << 20))
time.sleep(10)
"""
    assert run(box, source, seconds=5.0).stopped == "memory"


def test_a_fork_bomb_hits_its_limit_and_the_next_program_runs(box):
    source = """
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
"""
    ended = run(box, source, seconds=0.3, wall_seconds=0.6)
    assert ended.stopped == "time"
    assert run(box, "print(1)").stdout == b"1\n"


def test_daemons_do_not_outlive_their_program(box):
    source = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
os.wait()
print("done")
"""
    assert run(box, source).stdout == b"done\n"
    count = "import os; print(sum(name.isdigit() for name in os.listdir('/proc')))"
    assert run(box, count).stdout in (b"1\n", b"2\n")


def test_files_of_the_machine_are_neither_seen_nor_written(box, tmp_path):
    secret = tmp_path / "expected.txt"
    secret.write_text("42")
    assert "FileNotFoundError" in last_line(run(box, f"open({str(secret)!r})"))
    assert "FileNotFoundError" in last_line(run(box, f"import os; os.listdir({os.getcwd()!r})"))
    for place in ("/x", "/usr/x", "/dev/x", "/root/x"):
        assert "Error: [Errno" in last_line(run(box, f"open({place!r}, 'w')"))
    assert not Path("/tmp/left").exists()
    run(box, "open('/tmp/left', 'w').write('x')")
    assert not Path("/tmp/left").exists()


def test_a_program_cannot_make_itself_wait_for_a_cpu(box):
    for source in (
        "import os; os.nice(19)",
        "import os; os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))",
    ):
        assert "PermissionError" in last_line(run(box, source))


def test_each_program_starts_with_an_empty_scratch_directory_of_bounded_size(box):
    look = "import os; print(os.getcwd(), os.listdir('.')); open('x', 'w').write('y')"
    assert [run(box, look).stdout for _ in range(2)] == [b"/tmp []\n"] * 2
    for source in (
        "open('x', 'wb').write(bytes(8 << 20))",
        "for i in range(9): open(str(i), 'wb').write(bytes(1 << 20))",
        "import os\nfor i in range(10**5): os.mkdir(str(i))",
    ):
        assert "OSError" in last_line(run(box, source))


def test_other_processes_are_out_of_reach(box):
    for source in (
        f"import os; os.kill({os.getpid()}, 9)",
        "import os; os.kill(1, 9); open('/proc/1/environ').read()",
        f"open('/proc/{os.getpid()}/environ').read()",
        "open('/proc/1/mem', 'rb').read(1)",
        "import os; os.listdir('/proc/1/fd')",
        "import ctypes; l = ctypes.CDLL(None); assert l.ptrace(16, 1, 0, 0) == 0",
        "open('/proc/sys/kernel/core_pattern', 'w').write('x')",
    ):
        assert run(box, source).code != 0, source
    assert run(box, "print(1)").stdout == b"1\n"


def test_there_is_no_network():
    try:
        with Sandbox().open() as box, socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            source = f"import socket; socket.create_connection(('127.0.0.1', {port}), 1)"
            assert "PermissionError" in last_line(run(box, source))
    except SandboxError as e:
        pytest.skip(str(e))


def test_no_privilege_is_left_or_can_be_gained(box):
    source = """
import os
print([line.split()[1] for line in open('/proc/self/status') if line.startswith('CapEff')])
print(os.getuid() != 0)
"""
    assert run(box, source).stdout == b"['0000000000000000']\nTrue\n"
    unshare = "import ctypes; assert ctypes.CDLL(None).unshare(0x10000000) == 0"
    assert run(box, unshare).code != 0


def test_nothing_of_the_project_or_the_environment_is_inside(box, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    source = """
import os, sys
print([name for name in sys.modules if "rlvr" in name], "SECRET_TOKEN" in os.environ)
print(sorted(os.listdir("/proc/self/fd")))
import rlvr
"""
    ended = run(box, source)
    # The listing itself opens one more.
    assert ended.stdout == b"[] False\n['0', '1', '2', '3', '4']\n"
    assert "No module named 'rlvr'" in last_line(ended)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -1,
        1 << 70,
        1.5,
        "é\ud800",
        b"\x00",
        2j,
        [],
        (1, (2,)),
        {1, 2},
        {(1,): {"a": []}},
    ],
)
def test_a_returned_value_is_the_same_outside(box, value):
    ended = box.run(Call(source="def f(x): return x", name="f", arguments=(value,)), seconds=2)
    returned = plain.decoded(json.loads(ended.result))
    assert returned == value
    assert type(returned) is type(value)


def test_a_value_that_is_not_plain_does_not_come_back(box):
    source = """
class Equal(list):
    def __eq__(self, other): return True
    def __iter__(self): return iter([42])
class Odd: pass
def f(kind): return Equal([1]) if kind else Odd()
"""
    ended = box.run(Call(source=source, name="f", arguments=(1,)), seconds=2)
    assert plain.decoded(json.loads(ended.result)) == [1]
    ended = box.run(Call(source=source, name="f", arguments=(0,)), seconds=2)
    assert (ended.code, ended.result) == (1, b"")
    assert "type Odd" in last_line(ended)


def test_what_nobody_encoded_is_refused():
    for text in ('["a"]', '{"list": [1], "set": []}', '{"what": 1}', '{"set": [[1]]}', "{}"):
        with pytest.raises((ValueError, TypeError)):
            plain.decoded(json.loads(text))
    with pytest.raises(ValueError, match="entries"):
        plain.decoded({"set": list(range(10_000))})


def test_an_expression_sees_the_source_and_its_setup(box):
    job = Expression(source="def f(x): return x + 1", expression="f(y)", setup="y = 3")
    assert json.loads(box.run(job, seconds=2).result) == 4


SCRIPT = "def check(candidate):\n    for i in range(3):\n        assert candidate(i) == i + 1\n"


def passes(box, source, tests=SCRIPT, name="f"):
    token = b"t" * 32
    job = Script(source=source, tests=tests, token=token, name=name)
    return box.run(job, seconds=2).result == token


def test_a_script_gives_its_token_back_only_when_all_tests_passed(box):
    assert passes(box, "def f(x): return x + 1")
    assert not passes(box, "def f(x): return 1")
    assert passes(box, "f = lambda: 3", "def test_f():\n    assert f() == 3", "")
    assert not passes(box, "f = lambda: 3", "def test_f():\n    assert f() == 4", "")


@pytest.mark.parametrize(
    "source",
    [
        "raise SystemExit(0)",
        "import os; os._exit(0)",
        "import os; os.write(3, b'x' * 32); os._exit(0)",
        "import os, sys; print(os.read(0, 99)); f = lambda x: 0",
        "import builtins; builtins.range = lambda *a: []\ndef f(x): return 0",
        "range = lambda *a: []\ndef f(x): return 0",
        "import builtins; builtins.AssertionError = SystemExit\ndef f(x): return 0",
        "class E(int):\n    def __eq__(self, o): return True\n    __hash__ = int.__hash__\n"
        "def f(x): return E(0)",
        "class E:\n    def __eq__(self, o): return True\ndef f(x): return E()",
        "import atexit, os; atexit.register(os._exit, 0)\ndef f(x): return 0",
        "import sys; sys.settrace(lambda *a: None); sys.excepthook = print\ndef f(x): return 0",
        "def check(candidate): pass\ndef f(x): return 0",
        "import builtins\ndef f(x):\n    builtins.AssertionError = builtins.range = int",
    ],
)
def test_a_script_is_not_deceived(box, source):
    assert not passes(box, source)


def test_packages_are_shown_on_demand(tmp_path_factory):
    place = Path(json.__file__).parents[1] / "json"
    with pytest.raises(ValueError, match="no directory outside /tmp"):
        Sandbox(packages=("/nowhere",))
    try:
        with Sandbox(packages=(str(place),)).open() as box:
            assert run(box, "import scanner; print(1)").stdout == b"1\n"
    except SandboxError as e:
        pytest.skip(str(e))


@pytest.mark.parametrize(
    "setting",
    [
        {"isolation": "none"},
        {"memory_mb": 1},
        {"scratch_mb": 0},
        {"output_mb": 0},
        {"processes": 0},
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        Sandbox(**setting)


# Runs where no namespace may be made: in a user namespace whose own limit on them is 0.
WITHOUT_NAMESPACES = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
user, group = os.getuid(), os.getgid()
if libc.unshare(0x10000000):
    sys.exit(77)
for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
    open(f"/proc/self/{name}", "w").write(text)
open("/proc/sys/user/max_user_namespaces", "w").write("0")
libc.prctl(38, 1, 0, 0, 0)
libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
from rlvr.rewards.sandbox.box import Sandbox, SandboxError
from rlvr.rewards.sandbox.jobs import Program
try:
    with Sandbox(isolation=sys.argv[1]).open() as box:
        print(box.isolation)
        for source in sys.argv[2:]:
            ended = box.run(Program(source=source, stdin=b"abc"), seconds=2)
            said = ended.stderr.decode().strip().rpartition("\\n")[2]
            print(ended.code, ended.stdout.decode().strip(), said)
except SandboxError as e:
    print(e)
"""


def without_namespaces(isolation, *sources):
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_NAMESPACES, isolation, *sources],
        capture_output=True,
        text=True,
        timeout=60,
    )
    if ended.returncode == 77:
        pytest.skip("the kernel grants no user namespaces to test from")
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def test_without_namespaces_full_isolation_is_refused_with_the_remedy():
    (said,) = without_namespaces("full")
    assert "cannot isolate code: unshare user" in said
    assert "isolation: best_effort" in said


def test_best_effort_still_keeps_the_network_and_signals_away():
    secret = Path(__file__)
    said = without_namespaces(
        "best_effort",
        "print(input()[::-1]); open('x', 'w').write('x')",
        "import socket; socket.socket()",
        "import os; os.kill(os.getppid(), 9)",
        f"open({str(secret)!r})",
        f"open({str(secret.parent / 'x')!r}, 'w')",
        "open(f'/proc/1/environ').read()",
    )
    assert said[:2] == ["best effort", "0 cba "]
    assert all(line.startswith("1 ") and "PermissionError" in line for line in said[2:])
    assert not (secret.parent / "x").exists()


@pytest.mark.slow
def test_the_sandbox_dies_with_the_process_that_opened_it():
    source = """
import os, sys
from rlvr.rewards.sandbox.box import Sandbox
from rlvr.rewards.sandbox.jobs import Program
with Sandbox(isolation="best_effort").open() as box:
    print(box._process.pid, flush=True)
    box.run(Program(source="while True: pass"), seconds=60)
"""
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        launcher = int(process.stdout.readline())
        time.sleep(0.2)
        process.kill()
        process.wait(10)
    for _ in range(500):
        if not Path(f"/proc/{launcher}").exists():
            break
        time.sleep(0.01)
    assert not Path(f"/proc/{launcher}").exists()
