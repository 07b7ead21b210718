import itertools
import json

import pytest

from rlvr.problems.stream import Shuffled, Without
from rlvr.types import Problem


def problems(count: int) -> list[Problem]:
    return [Problem(id=f"p/{i}", prompt=f"{i}=", answer=str(i)) for i in range(count)]


def test_an_epoch_has_every_problem_once_and_the_next_another_order():
    stream = Shuffled(problems(50), seed=1)
    first, second = ([p.id for p in itertools.islice(iter(stream), 50)] for _ in range(2))
    assert sorted(first) == sorted(second) == sorted(p.id for p in problems(50))
    assert first != second


def test_the_order_follows_from_the_seed_alone():
    def order(seed: int) -> list[str]:
        return [p.id for p in itertools.islice(iter(Shuffled(problems(20), seed=seed)), 45)]

    assert order(3) == order(3)
    assert order(3) != order(4)


@pytest.mark.parametrize("taken", [0, 1, 7, 8, 19])
def test_a_restored_stream_goes_on_with_the_very_next_problem(taken: int):
    whole = Shuffled(problems(8), seed=5)
    for _ in itertools.islice(iter(whole), taken):
        pass
    state = json.loads(json.dumps(whole.state_dict()))
    restored = Shuffled(problems(8), seed=5)
    restored.load_state_dict(state)
    expected = [p.id for p in itertools.islice(iter(whole), 20)]
    assert [p.id for p in itertools.islice(iter(restored), 20)] == expected


def test_a_place_in_other_problems_is_refused():
    state = Shuffled(problems(8)).state_dict()
    with pytest.raises(ValueError, match="fingerprint"):
        Shuffled(problems(9)).load_state_dict(state)
    with pytest.raises(ValueError, match="seed"):
        Shuffled(problems(8), seed=1).load_state_dict(state)


def test_the_fingerprint_sees_ids_prompts_and_answers():
    base = {"id": "a", "prompt": "b", "answer": "c"}
    changed = [base, *({**base, key: "x"} for key in base)]
    prints = {Shuffled([Problem(**fields)]).fingerprint for fields in changed}
    assert len(prints) == 4


def test_no_problem_and_shared_ids_are_refused():
    with pytest.raises(ValueError, match="at least 1 problem"):
        Shuffled([])
    with pytest.raises(ValueError, match="share 1 ids"):
        Shuffled([*problems(1), *problems(1)])


def test_the_epoch_is_that_of_the_last_problem_drawn():
    stream = Shuffled(problems(3))
    epochs = [stream.epoch for _ in itertools.islice(iter(stream), 7)]
    assert epochs == [0, 0, 0, 1, 1, 1, 2]


def test_what_is_left_out_is_never_drawn_and_the_order_of_the_rest_stays():
    whole, part = Shuffled(problems(6), seed=2), Without(Shuffled(problems(6), seed=2), {"p/1"})
    assert [p.id for p in part.all()] == ["p/0", "p/2", "p/3", "p/4", "p/5"]
    drawn = [p.id for p in itertools.islice(iter(part), 10)]
    assert drawn == [p.id for p in itertools.islice(iter(whole), 12) if p.id != "p/1"]
    again = Without(Shuffled(problems(6), seed=2), {"p/1"})
    again.load_state_dict(part.state_dict())
    assert [p.id for p in itertools.islice(iter(again), 9)] == [
        p.id for p in itertools.islice(iter(part), 9)
    ]


def test_leaving_out_everything_is_refused():
    with pytest.raises(ValueError, match="all of the 2 problems"):
        Without(Shuffled(problems(2)), ["p/0", "p/1"])
