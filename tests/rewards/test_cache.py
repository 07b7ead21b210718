from rlvr.rewards.serving.cache import Key, VerdictCache, columns_of
from rlvr.types import Message, Outcome, Verdict
from tests.conftest import problem, verdict


def key(extracted, **changes):
    settings = {"verifier": "math", "gold": "4", "columns": b"", "extracted": extracted}
    return Key(**settings | changes)


def test_the_least_used_goes_first():
    cache = VerdictCache(2)
    cache.put(key("a"), verdict(1.0))
    cache.put(key("b"), verdict(0.0))
    assert cache.get(key("a")) == verdict(1.0)
    cache.put(key("c"), verdict(0.0))
    assert cache.get(key("b")) is None
    assert cache.get(key("a")) == verdict(1.0)
    assert len(cache) == 2


def test_only_verdicts_about_the_model_are_kept():
    cache = VerdictCache(9)
    for outcome in Outcome:
        reward = 1.0 if outcome.is_graded else None
        cache.put(key(outcome), Verdict(outcome=outcome, reward=reward))
    kept = [outcome for outcome in Outcome if cache.get(key(outcome)) is not None]
    assert kept == [Outcome.CORRECT, Outcome.WRONG, Outcome.NO_ANSWER]


def test_a_cache_of_no_entries_keeps_none():
    cache = VerdictCache(0)
    cache.put(key("a"), verdict(1.0))
    assert cache.get(key("a")) is None


def test_verifier_and_reference_are_parts_of_the_key():
    cache = VerdictCache(9)
    cache.put(key("a"), verdict(1.0))
    assert cache.get(key("a", verifier="code")) is None
    assert cache.get(key("a", gold="5")) is None


def test_rows_that_read_alike_have_one_digest_in_whatever_order_their_columns_stand():
    one, two = problem(extra={"a": 1, "b": [2]}), problem(id="q", extra={"b": [2], "a": 1})
    assert columns_of(one) == columns_of(two)
    others = [
        problem(extra={"a": 1}),
        problem(extra={"a": 1, "b": [2]}, source="s"),
        problem(extra={"a": "1", "b": [2]}),
    ]
    assert columns_of(one) not in map(columns_of, others)


def test_a_chat_and_its_text_are_two_prompts():
    chat = (Message(role="user", content="2 + 2?"),)
    changed = type(problem())(id="p/0", prompt=chat, answer="4")
    assert columns_of(problem()) != columns_of(changed)
