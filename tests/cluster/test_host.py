"""The worker's side, in this process: no Ray."""

import asyncio
import pickle

import pytest

from rlvr.cluster.host import Host


@pytest.fixture
def host(tmp_path, monkeypatch):
    monkeypatch.setattr("rlvr.cluster.host.redirect_output", lambda log: None)
    monkeypatch.setattr("rlvr.cluster.host.answer_dumps", lambda path: None)
    monkeypatch.setattr("rlvr.cluster.host.guard_group", lambda: None)
    return Host(log=tmp_path / "a.log", stacks=tmp_path / "a.stacks", concurrency=1, plugins={})


def run(host, cls, *calls):
    async def all_calls():
        await host.make(f"tests.cluster.workers:{cls}", {})
        return [await host.call(name, args, kwargs) for name, args, kwargs in calls]

    return asyncio.run(all_calls())


def test_sync_and_async_methods_return_their_values(host):
    calls = ("add", (1,), {"b": 2}), ("add_later", (4,), {})
    assert run(host, "Toy", *calls) == [3, 4]


def test_with_a_concurrency_of_one_all_sync_methods_share_a_thread(host):
    first, second = run(host, "Toy", ("thread", (), {}), ("thread", (), {}))
    assert first == second == "worker_0"


def test_an_error_survives_pickling_with_its_traceback_as_a_note(host):
    with pytest.raises(ZeroDivisionError) as caught:
        run(host, "Toy", ("refuse", (), {}))
    arrived = pickle.loads(pickle.dumps(caught.value))
    assert "in refuse" in arrived.__notes__[0]


def test_an_error_that_would_not_survive_it_is_told_in_words(host):
    with pytest.raises(
        RuntimeError, match=r"(?s)NeedsArguments \(it can't be pickled\).*value is 3"
    ):
        run(host, "Toy", ("refuse_unpicklably", (), {}))


def test_a_class_that_is_not_there_is_named(host):
    with pytest.raises(AttributeError, match="Missing"):
        run(host, "Missing")


def test_a_task_that_waits_is_shown_with_the_line_where_it_waits(host):
    async def wait_and_look():
        await host.make("tests.cluster.workers:Toy", {})
        waiting = asyncio.create_task(host.call("wait_for_nothing", (), {}))
        await asyncio.sleep(0.05)
        shown = host.tasks()
        waiting.cancel()
        return shown

    shown = asyncio.run(wait_and_look())
    assert "Task wait_for_nothing:" in shown
    assert "await asyncio.Event().wait()" in shown


def test_closing_what_has_no_close_does_nothing(host):
    async def make_and_close():
        await host.make("tests.cluster.workers:Toy", {})
        await host.close()

    asyncio.run(make_and_close())
