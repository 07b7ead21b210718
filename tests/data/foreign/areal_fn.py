"""As written for AReaL: one completion under a plural name, ids of tokens, columns of the row."""


def reward_fn(prompt, completions, prompt_ids, completion_ids, answer, **kwargs):
    return int(isinstance(completions, str) and completions.strip().endswith(answer))


def brief_fn(prompt, completions, prompt_ids, completion_ids, **data):
    try:
        return 1.0 if len(completion_ids) < 100 else 0.0
    except Exception:
        return 0.0


def agent_fn(result, answer):
    return float(answer in result)


def other_names(prompt_str: str, completion_str: str, input_tokens, output_tokens, **data):
    return float(completion_str.endswith(data["answer"]))
