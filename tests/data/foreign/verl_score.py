"""As written for verl: one completion, a mapping with what else is to be logged."""

import re


def compute_score(data_source, solution_str, ground_truth, extra_info=None, bonus=0.0, **kwargs):
    found = re.findall(r"#### (-?\d+)", solution_str)
    right = bool(found) and found[-1] == ground_truth
    weight = 1.0 if extra_info is None else extra_info.get("weight", 1.0)
    return {
        "score": weight * right + bonus,
        "acc": right,
        "pred": found[-1] if found else "",
        "length": len(solution_str),
    }


async def compute_score_later(data_source, solution_str, ground_truth, extra_info):
    import asyncio  # noqa: PLC0415

    await asyncio.sleep(0)
    return float(solution_str.endswith(ground_truth))


def compute_score_batch(data_sources, solution_strs, ground_truths, extra_infos):
    assert len({len(data_sources), len(solution_strs), len(ground_truths), len(extra_infos)}) == 1
    longest = max(map(len, solution_strs))
    return [
        {"score": float(truth in text), "longest": len(text) == longest}
        for text, truth in zip(solution_strs, ground_truths, strict=True)
    ]


def inner_score(model_output, ground_truth, timeout_score=0):
    return float(ground_truth in model_output)
