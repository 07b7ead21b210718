import json
import re

import pytest

from rlvr.rewards.serving.exchange import RequestError, answer, prometheus, questions
from rlvr.types import Message, Outcome, Verdict


def asked(**body):
    return questions(json.dumps(body).encode())


def test_a_question_is_a_problem_and_texts():
    (one,), batch = asked(
        problem={"answer": "4", "source": "s", "id": "p", "prompt": "?", "extra": {"tests": [1]}},
        texts=["a", "b"],
    )
    assert not batch
    assert (one.problem.answer, one.problem.source, one.problem.id) == ("4", "s", "p")
    assert (one.problem.prompt, one.problem.extra) == ("?", {"tests": [1]})
    assert one.texts == ("a", "b")


def test_a_batch_is_a_list_of_questions():
    two, batch = asked(batch=[{"problem": {"answer": a}, "texts": [a]} for a in "45"])
    assert batch
    assert [one.problem.answer for one in two] == ["4", "5"]
    assert asked(batch=[]) == ([], True)


def test_a_prompt_may_be_a_chat():
    (one,), _ = asked(
        problem={"answer": "4", "prompt": [{"role": "user", "content": "?"}]}, texts=[]
    )
    assert one.problem.prompt == (Message(role="user", content="?"),)


def test_half_of_a_character_and_a_null_byte_are_texts_as_well():
    (one,), _ = questions(b'{"problem": {"answer": "4"}, "texts": ["\\ud800 \\u0000"]}')
    assert one.texts == ("\ud800 \x00",)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "the body is no JSON"),
        (b"\xff\xfe\xfd", "the body is no JSON"),
        (b"[" * 100_000, "the body is no JSON"),
        (b"[]", "the body is a list; it has to be an object"),
        (b"{}", "the body lacks 'problem'"),
        (b'{"problem": {}, "texts": []}', "problem lacks 'answer'"),
        (b'{"problem": {"answer": 4}, "texts": []}', "problem.answer is a number"),
        (b'{"problem": {"answer": "4"}, "texts": "x"}', "texts is a text; it has to be a list"),
        (b'{"problem": {"answer": "4"}, "texts": [null]}', r"texts\[0\] is null"),
        (b'{"problem": {"answer": "4", "gold": 1}, "texts": []}', "unknown field 'gold'"),
        (b'{"problem": {"answer": "4", "prompt": 1}, "texts": []}', "prompt is a number"),
        (b'{"problem": {"answer": "4", "prompt": [{}]}, "texts": []}', r"prompt\[0\] lacks"),
        (b'{"problem": {"answer": "4", "extra": []}, "texts": []}', "extra is a list"),
        (b'{"batch": [], "texts": []}', "batch beside other fields"),
        (b'{"batch": [{"texts": []}]}', r"batch\[0\] lacks 'problem'"),
    ],
)
def test_what_can_not_be_graded_is_refused_with_the_place_and_the_reason(body, reason):
    with pytest.raises(RequestError, match=reason):
        questions(body)


def test_verdicts_are_json_that_everybody_reads():
    verdict = Verdict(
        outcome=Outcome.CORRECT, reward=1.0, extracted="\ud800", parts={"x": float("nan")}
    )
    text = json.dumps(answer([verdict]), allow_nan=False)
    assert json.loads(text)["verdicts"] == [
        {
            "outcome": "correct",
            "reward": 1.0,
            "extracted": "\ud800",
            "detail": "",
            "parts": {"x": None},
            "verifier": "",
        }
    ]


def test_metrics_are_prometheus_text():
    names = "graded killed died cache_hits queue_seconds working_seconds busy"
    stats = dict.fromkeys([*names.split(), *(f"outcome/{o}" for o in Outcome)], 2.0)
    stats |= {"latency_seconds/p50": 0.25, "latency_seconds/p99": 0.5}
    lines = prometheus(stats, {"ready": 1.0, "waiting": 0.0}).splitlines()
    sample = re.compile(r'rlvr_reward_\w+(\{\w+="[^"]+"\})? [0-9.e+-]+')
    values = [line for line in lines if not line.startswith("#")]
    assert all(sample.fullmatch(line) for line in values)
    assert 'rlvr_reward_verdicts_total{outcome="timeout"} 2' in values
    assert 'rlvr_reward_verdict_seconds{quantile="0.99"} 0.5' in values
    typed = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    assert {re.split(r"[{ ]|_sum|_count", line)[0] for line in values} == typed
