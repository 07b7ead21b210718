"""As written for verifiers: functions of what they name, and a rubric that weighs them."""

import verifiers as vf


def correct(parser, completion, answer, **kwargs):
    return 1.0 if parser.parse_answer(completion) == answer else 0.0


async def polite(completion, state, info, task):
    assert state["completion"] is completion and task == "sums" and info == {"level": 3}
    return 1.0 if "please" in completion[-1].content else 0.0


def words(completion):
    return float(len(completion[0]["content"].split()))


def rank(completions, states):
    longest = max(len(chat[-1]["content"]) for chat in completions)
    return [float(len(state["completion"][-1]["content"]) == longest) for state in states]


def broken(completion):
    raise RuntimeError("no such judge")


parser = vf.Parser()
rubric = vf.Rubric(funcs=[correct, polite, words], weights=[1.0, 0.2, 0.0], parser=parser)
comparing = vf.Rubric(funcs=[correct, rank], weights=[1.0, 0.1], parser=parser)
failing = vf.Rubric(funcs=[correct, broken], parser=parser)
empty = vf.Rubric(funcs=[])
