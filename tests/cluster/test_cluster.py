import asyncio
import os
import shutil
import sys
import time

import psutil
import pytest

from rlvr import plugin
from rlvr.cluster.cluster import Cluster
from rlvr.cluster.placement import Ask
from rlvr.config import BudgetConfig, ClusterConfig, ConfigError
from rlvr.remote import PhaseTimeout, WorkerDied

pytestmark = pytest.mark.slow

TOY = "tests.cluster.workers:Toy"
BUDGETS = BudgetConfig(start=60, generate=30, grade=1, sync=1, stop=2)


def ask(name, gpus=0.0):
    return Ask(name=name, section="rollout", cpus=1, gpus=gpus)


def cluster_of(path, *names, gpus=0.0):
    asks = [ask(name, gpus) for name in names]
    return Cluster(ClusterConfig(env={"FLAG": "set"}), BUDGETS, path, asks)


@pytest.fixture(scope="module")
def runner():
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def cluster(runner, run_dir):
    """Room for workers a to e; tests spawn each at most once."""
    cluster = cluster_of(run_dir, *"abcde")
    runner.run(cluster.start())
    yield cluster
    runner.run(cluster.stop())


@pytest.fixture(scope="module")
def worker(cluster, runner):
    return runner.run(cluster.spawn("a", TOY, {"start": 1}, concurrency=4))


def test_a_call_returns_what_the_method_returns(worker, runner):
    assert runner.run(worker.call("add", 2, phase="generate", b=3)) == 6
    assert runner.run(worker.call("add_later", 2, phase="generate")) == 3


def test_an_error_arrives_with_its_type_and_the_workers_traceback(worker, runner):
    with pytest.raises(ZeroDivisionError, match="nothing to share") as caught:
        runner.run(worker.call("refuse", phase="generate"))
    assert "in refuse" in "".join(caught.value.__notes__)


def test_a_timeout_raised_by_the_method_is_not_the_phases(worker, runner, run_dir):
    with pytest.raises(TimeoutError, match="the worker's own") as caught:
        runner.run(worker.call("refuse_with_a_timeout", phase="generate"))
    assert not isinstance(caught.value, PhaseTimeout)


def test_an_error_that_can_not_travel_is_told_in_words(worker, runner):
    with pytest.raises(RuntimeError, match=r"(?s)NeedsArguments.*value is 3"):
        runner.run(worker.call("refuse_unpicklably", phase="generate"))


def test_the_environment_is_set_before_the_class_is_imported(worker, runner):
    assert runner.run(worker.call("environment", phase="generate")) == ("set", "1", "")


def test_an_unknown_phase_is_refused(worker, runner):
    with pytest.raises(ValueError, match="generate"):
        runner.run(worker.call("add", 1, phase="generat"))


def test_the_layout_says_who_lives_where(worker, cluster, runner):
    row = cluster.layout()[0]
    assert (row.worker, row.cpus, row.gpus) == ("a", 1, "")
    assert row.pid == runner.run(worker.call("pid", phase="generate"))


def test_a_call_that_is_cancelled_here_is_cancelled_there(worker, runner):
    async def cancel_and_ask():
        waiting = asyncio.create_task(worker.call("wait_for_nothing", phase="generate"))
        await asyncio.sleep(0.3)
        waiting.cancel()
        for _ in range(50):
            if await worker.call("was_cancelled", phase="generate"):
                return True
            await asyncio.sleep(0.1)
        return False

    assert runner.run(cancel_and_ask())


def test_a_second_worker_of_one_name_is_refused(worker, cluster, runner):
    with pytest.raises(ValueError, match="once"):
        runner.run(cluster.spawn("a", TOY))


def test_an_error_in_the_constructor_arrives_as_it_is(cluster, runner):
    with pytest.raises(FileNotFoundError, match="no such model"):
        runner.run(cluster.spawn("b", "tests.cluster.workers:Unmakeable"))


def test_a_worker_gets_and_returns_what_a_plug_in_file_made(cluster, runner, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("from fractions import Fraction\n\nclass Half(Fraction):\n    pass\n")
    half = plugin.build({"_target_": f"{path}:Half", "numerator": 1}, denominator=2)
    path.unlink()
    worker = runner.run(cluster.spawn("e", TOY, {"start": half}))
    assert runner.run(worker.call("add", half, phase="generate")) == 1
    kept = runner.run(worker.call("started_with", phase="generate"))
    assert (type(kept), kept) == (type(half), half)


def test_a_killed_worker_is_named_with_its_last_words(cluster, runner):
    worker = runner.run(cluster.spawn("c", TOY))
    pid = worker.identity.pid
    child = runner.run(worker.call("have_a_child", phase="generate"))
    with pytest.raises(WorkerDied) as caught:
        runner.run(worker.call("say_and_die", "farewell", phase="generate"))
    message = str(caught.value)
    assert message.startswith(f"c died in say_and_die (pid {pid} on ")
    assert "SIGKILL" in message and "farewell" in message
    assert not outlives(child, 5), "a killed worker's child runs on"
    with pytest.raises(WorkerDied, match="c died in add"):
        runner.run(worker.call("add", 1, phase="generate"))


def test_past_its_budget_a_phase_is_named_and_all_stacks_are_kept(worker, cluster, runner):
    async def two_at_once():
        other = await cluster.spawn("d", TOY, concurrency=2)
        calls = (
            other.call("sleep_in_a_thread", 5, phase="grade"),
            other.call("block_the_loop", 5, phase="grade"),
            worker.call("wait_for_nothing", phase="grade"),
        )
        return await asyncio.gather(*calls, return_exceptions=True)

    errors = runner.run(two_at_once())
    assert [type(error) for error in errors] == [PhaseTimeout] * 3
    files = {str(error).split(" are in ")[1].split(":")[0] for error in errors}
    assert len(files) == 1
    assert "d.sleep_in_a_thread took longer than budgets.grade=1 s" in str(errors[0])
    with open(files.pop()) as file:
        stacks = file.read()
    of_a, of_d = stacks.split("===== d =====")
    assert "wait_for_nothing" in of_a
    assert "sleep_in_a_thread" in of_d and "block_the_loop" in of_d
    assert "===== driver =====" in of_d and "two_at_once" in of_d


def test_more_gpus_than_there_are_are_refused_at_once(cluster, runner, tmp_path):
    with pytest.raises(ConfigError, match=r"rollout\.gpus=64 x 1 worker: 64 GPUs asked"):
        # Its own start would refuse a second cluster in this process first.
        runner.run(cluster_of(tmp_path, "x", gpus=64)._place())


def test_after_a_sigterm_a_run_goes_on_until_it_stops_and_leaves_no_process_behind(
    tmp_path, runner
):
    script = f"""
import asyncio, os, pathlib, signal, tests.cluster.test_cluster as t, psutil
from rlvr.cluster.interrupt import interruptible
async def main():
    path = pathlib.Path({str(tmp_path)!r})
    with interruptible() as stop:
        async with t.cluster_of(path, *"abc") as cluster:
            makes = [("a", "Closable"), ("b", "Unclosable"), ("c", "Toy")]
            a, b, c = await asyncio.gather(
                *(cluster.spawn(n, "tests.cluster.workers:" + cls) for n, cls in makes))
            own = [await a.call("have_a_child", phase="generate"), a.identity.pid, b.identity.pid]
            try:
                await c.call("sleep_in_a_thread", 600, phase="sync")
            except t.PhaseTimeout:
                pass
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(stop.wait(), 10)
            known = own + [p.pid for p in psutil.Process().children(recursive=True)]
    print([pid for pid in known if t.is_alive(pid)], len(known) > 8)
asyncio.run(main())
"""
    code, out, err = runner.run(python(script))
    # Ray may say before, on the same stream, that a worker has died.
    assert (code, out.strip().splitlines()[-1:]) == (0, ["[] True"]), err
    assert "closed" in (tmp_path / "logs" / "a.log").read_text()
    assert "b did not close cleanly" in err
    assert list((tmp_path / "logs" / "ray").glob("raylet*"))


def test_workers_and_their_children_die_with_a_killed_driver(tmp_path, runner):
    script = f"""
import asyncio, os, pathlib, signal, tests.cluster.test_cluster as t, psutil
async def main():
    cluster = t.cluster_of(pathlib.Path({str(tmp_path)!r}), *"ab")
    await cluster.start()
    a, b = await asyncio.gather(*(cluster.spawn(name, t.TOY) for name in "ab"))
    await a.call("have_a_child", phase="generate")
    asyncio.create_task(b.call("sleep_in_a_thread", 600, phase="generate"))
    await asyncio.sleep(0.3)
    pids = [p.pid for p in psutil.Process().children(recursive=True)]
    print(cluster._session._temp, *pids, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    code, out, err = runner.run(python(script))
    assert code == -9, err
    temporary, *pids = out.split()
    assert len(pids) > 8
    assert [pid for pid in pids if outlives(int(pid), 10)] == []
    shutil.rmtree(temporary)


def outlives(pid, seconds):
    """Whether a process is still there after that time; a zombie is not."""
    deadline = time.monotonic() + seconds
    while is_alive(pid):
        if time.monotonic() > deadline:
            return True
        time.sleep(0.05)
    return False


def is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def python(script):
    """Exit status, output and errors of a script that runs at the repository's root."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        cwd=root,
        env={**os.environ, "PYTHONPATH": root},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(90):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode, out.decode(), err.decode()
