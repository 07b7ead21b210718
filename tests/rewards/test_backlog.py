import asyncio

import pytest

from rlvr.rewards.serving.backlog import Backlog


class Callers:
    """Tasks that enter a backlog and stay until they are let go."""

    def __init__(self, limit):
        self.backlog = Backlog(limit)
        self.entered = []
        self.tasks = {}
        self.gates = {}

    async def come(self, name, texts):
        self.gates[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._stay(name, texts))
        await settle()

    async def go(self, name):
        self.gates[name].set()
        await settle()

    async def _stay(self, name, texts):
        async with self.backlog.room(texts):
            self.entered.append(name)
            await asyncio.wait_for(self.gates[name].wait(), 10)


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


def test_who_finds_no_room_waits_and_comes_in_turn():
    async def run():
        callers = Callers(10)
        await callers.come("a", 6)
        await callers.come("b", 6)
        await callers.come("c", 1)
        assert callers.entered == ["a"], "c fits, but b came first"
        assert (callers.backlog.texts, callers.backlog.held_back) == (6, 7)
        await callers.go("a")
        assert callers.entered == ["a", "b", "c"]
        await callers.go("b")
        await callers.go("c")
        assert (callers.backlog.texts, callers.backlog.held_back) == (0, 0)

    asyncio.run(run())


def test_more_than_ever_fits_goes_alone():
    async def run():
        callers = Callers(10)
        await callers.come("a", 1)
        await callers.come("huge", 99)
        assert callers.entered == ["a"]
        await callers.go("a")
        await callers.come("b", 1)
        assert callers.entered == ["a", "huge"]
        await callers.go("huge")
        assert callers.entered == ["a", "huge", "b"]

    asyncio.run(run())


@pytest.mark.parametrize("inside", [True, False])
def test_who_gives_up_leaves_no_room_taken(inside):
    async def run():
        callers = Callers(10)
        if not inside:
            await callers.come("a", 10)
        await callers.come("b", 10)
        await callers.come("c", 10)
        callers.tasks["b"].cancel()
        await settle()
        if not inside:
            await callers.go("a")
        assert callers.entered[-1] == "c"
        assert callers.backlog.texts == 10
        await callers.go("c")
        assert (callers.backlog.texts, callers.backlog.held_back) == (0, 0)

    asyncio.run(run())


def test_who_gives_up_in_the_moment_of_being_let_in_leaves_no_room_taken():
    async def run():
        callers = Callers(10)
        await callers.come("a", 10)
        await callers.come("b", 10)
        callers.gates["a"].set()
        while callers.backlog.held_back:
            await asyncio.sleep(0)
        callers.tasks["b"].cancel()
        await settle()
        assert callers.entered == ["a"]
        assert callers.backlog.texts == 0

    asyncio.run(run())


def test_no_room_at_all_is_refused():
    with pytest.raises(ValueError, match=r"max_waiting=0: nothing could ever be graded"):
        Backlog(0)
