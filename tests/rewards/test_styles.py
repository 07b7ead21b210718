"""Functions written for other frameworks, in ``tests/data/foreign``, run as they are."""

from pathlib import Path

import pytest

from rlvr import recipes
from rlvr.config import ConfigError
from rlvr.rewards.porting.ported import load
from rlvr.rewards.porting.styles import RewardSpecError, recognise
from rlvr.rewards.serving.jail import jailed
from rlvr.types import Message, Outcome, Problem

FOREIGN = Path(__file__).parents[1] / "data" / "foreign"
PROBLEM = Problem(id="p", prompt="2+2?", answer="4", source="sums", extra={"level": 3})
CHAT = Problem(
    id="c",
    prompt=(Message(role="system", content="Be brief."), Message(role="user", content="2+2?")),
    answer="4",
    source="sums",
    extra={"solution": "4"},
)


def foreign(place, **node):
    path = f"{FOREIGN}/{place}"
    return load({"path": path, **node} if node else path)


@pytest.mark.parametrize(
    ("place", "style", "batched"),
    [
        ("verl_score.py:compute_score", "verl", False),
        ("verl_score.py:compute_score_later", "verl", False),
        ("verl_score.py:inner_score", "verl", False),
        ("verl_score.py:compute_score_batch", "verl-batch", True),
        ("trl_columns.py:accuracy", "TRL", True),
        ("trl_columns.py:shortest", "TRL", True),
        ("trl_columns.py:chats", "TRL-chat", True),
        ("openrlhf_func.py:reward_func", "OpenRLHF", True),
        ("areal_fn.py:reward_fn", "AReaL", False),
        ("areal_fn.py:agent_fn", "AReaL", False),
        ("areal_fn.py:other_names", "AReaL", False),
        ("slime_rm.py:custom_rm", "slime", False),
        ("verifiers_rubric.py:words", "verifiers", False),
        ("verifiers_rubric.py:rank", "verifiers-group", True),
        ("verifiers_rubric.py:rubric", "verifiers-rubric", False),
        ("verifiers_rubric.py:comparing", "verifiers-rubric", True),
    ],
)
def test_the_style_is_told_by_the_names_of_the_parameters(place, style, batched):
    about = foreign(place).about
    assert (about.style, about.batched, about.name) == (style, batched, place)


def test_verls_mapping_gives_the_score_what_was_read_and_what_is_logged():
    reward = foreign("verl_score.py:compute_score")
    right, wrong = reward.grade(PROBLEM, ["so #### 4", "so #### 5"])
    assert (right.outcome, right.reward, right.extracted) == (Outcome.CORRECT, 1.0, "4")
    assert right.parts == {"acc": 1.0, "length": 9.0}
    assert (wrong.outcome, wrong.reward, wrong.extracted) == (Outcome.WRONG, 0.0, "5")


def test_verls_row_reaches_its_function_as_it_was():
    extra = {"reward_model": {"ground_truth": "7"}, "extra_info": {"weight": 0.5}, "ability": "x"}
    problem = Problem(id="p", prompt="?", answer='["7"]', extra=extra)
    verdict = foreign("verl_score.py:compute_score")(problem, "#### 7")
    assert (verdict.outcome, verdict.reward) == (Outcome.CORRECT, 0.5)


def test_settings_of_the_function_come_from_kwargs():
    reward = foreign("verl_score.py:compute_score", kwargs={"bonus": 0.25})
    assert reward(PROBLEM, "#### 5").reward == 0.25
    with pytest.raises(
        RewardSpecError, match=r"unexpected keyword argument 'bonus'.*it takes data_"
    ):
        foreign("verl_score.py:compute_score_later", kwargs={"bonus": 0.25})
    with pytest.raises(RewardSpecError, match=r"no setting 'arguments'.* set path, style, kwargs"):
        foreign("verl_score.py:compute_score", arguments={})
    with pytest.raises(RewardSpecError, match="kwargs=3 is no mapping"):
        foreign("verl_score.py:compute_score", kwargs=3)


def test_a_batched_function_sees_the_whole_group_in_one_call():
    verdicts = foreign("verl_score.py:compute_score_batch").grade(PROBLEM, ["4", "is 4", "5"])
    assert [v.reward for v in verdicts] == [1.0, 1.0, 0.0]
    assert [v.parts["longest"] for v in verdicts] == [0.0, 1.0, 0.0]
    brief = foreign("trl_columns.py:shortest").grade(PROBLEM, ["abc", "a", "ab"])
    assert [v.reward for v in brief] == [0.0, 1.0, 0.0]


def test_trls_columns_chats_abstentions_and_logs():
    reward = foreign("trl_columns.py:accuracy")
    right, wrong = reward.grade(CHAT, ["it is 4", "no"])
    assert (right.reward, right.parts) == (1.0, {"right": 0.5, "length": 7.0})
    assert (wrong.reward, wrong.parts) == (0.0, {"right": 0.5, "length": 2.0})
    assert reward(PROBLEM, "it is 4").reward == 1.0  # the reference, where no column is so named
    assert foreign("trl_columns.py:must_log")(PROBLEM, "").parts == {"calls": 1.0}
    unsure = Problem(id="u", prompt="?", answer="?", extra={"solution": "?"})
    assert reward(unsure, "4").outcome is Outcome.ABSTAIN


def test_a_function_that_looks_for_content_gets_chats_of_text_prompts_too():
    verdicts = foreign("trl_columns.py:chats").grade(PROBLEM, ["4", "5"])
    assert [v.reward for v in verdicts] == [1.0, 0.0]


def test_openrlhfs_scores_tell_right_from_wrong_and_its_rewards_train():
    right, wrong = foreign("openrlhf_func.py:reward_func").grade(CHAT, ["it is 4", "no " * 9])
    assert (right.outcome, right.reward) == (Outcome.CORRECT, 0.6)
    assert (wrong.outcome, wrong.reward) == (Outcome.WRONG, 0.0)
    assert right.parts == {"short": 1.0, "accuracy": 0.5, "acc": 1.0}
    assert [v.reward for v in foreign("openrlhf_func.py:bare").grade(PROBLEM, ["", ""])] == [0, 0]


def test_areals_singular_text_and_columns_and_its_unread_tokens():
    reward = foreign("areal_fn.py:reward_fn")
    assert [v.reward for v in reward.grade(CHAT, ["it is 4", "5"])] == [1.0, 0.0]
    assert foreign("areal_fn.py:agent_fn")(PROBLEM, "4").outcome is Outcome.CORRECT
    assert foreign("areal_fn.py:other_names")(PROBLEM, "4").outcome is Outcome.CORRECT


def test_slimes_sample_has_what_is_known_of_it():
    reward = foreign("slime_rm.py:custom_rm")
    assert [v.reward for v in reward.grade(CHAT, ["4", "5"])] == [1.0, 0.0]


def test_a_rubric_is_the_weighted_sum_of_its_functions_each_logged():
    verdict = foreign("verifiers_rubric.py:rubric")(PROBLEM, "please: 2+2 = 4")
    assert (verdict.outcome, verdict.reward) == (Outcome.CORRECT, 1.2)
    assert verdict.parts == {"correct": 1.0, "polite": 1.0, "words": 4.0}
    verdict = foreign("verifiers_rubric.py:rubric")(PROBLEM, "please: 5")
    assert (verdict.outcome, verdict.reward) == (Outcome.WRONG, 0.2)


def test_a_rubric_that_compares_gets_the_group():
    verdicts = foreign("verifiers_rubric.py:comparing").grade(PROBLEM, ["= 4", "it is = 4"])
    assert [v.reward for v in verdicts] == [1.0, 1.1]


def test_a_function_of_a_rubric_that_fails_is_no_zero():
    with jailed(f"{FOREIGN}/verifiers_rubric.py:failing", seconds=5) as jail:
        verdict = jail(PROBLEM, "= 4")
    assert (verdict.outcome, verdict.reward) == (Outcome.ERROR, None)
    assert "no such judge" in verdict.detail


@pytest.mark.parametrize(
    ("place", "complaint"),
    [
        ("trl_columns.py:by_tokens", "it reads completion_ids, which TRL passes and a reward of"),
        ("trl_columns.py:by_progress", "it reads trainer_state, which TRL passes"),
        ("trl_columns.py:only_tokens", "it reads completion_ids, which TRL passes"),
        ("areal_fn.py:brief_fn", "it reads completion_ids, which AReaL passes"),
        ("verifiers_rubric.py:correct", "it reads parser, which verifiers passes"),
        ("verifiers_rubric.py:empty", "the rubric has 0 functions and 0 weights"),
        ("verifiers_rubric.py:parser", "has no class or function 'parser'"),
    ],
)
def test_what_cannot_be_given_is_refused_when_it_is_loaded(place, complaint):
    with pytest.raises(RewardSpecError, match=complaint):
        foreign(place)


def test_a_style_that_is_named_wins_over_what_the_names_tell(tmp_path):
    (tmp_path / "mine.py").write_text(
        "def score(completions, answers=None, answer=None):\n    return [float(answer == ['4'])]"
    )
    path = f"{tmp_path}/mine.py:score"
    assert load(path).about.style == "verifiers-group"
    reward = load({"path": path, "style": "trl"})
    assert (reward.about.style, reward(PROBLEM, "").reward) == ("TRL", 1.0)
    with pytest.raises(
        RewardSpecError, match=r"style='very' is not known; use one of native, verl"
    ):
        load({"path": path, "style": "very"})
    with pytest.raises(RewardSpecError, match="remove style"):
        foreign("verifiers_rubric.py:rubric", style="verl")


def test_a_bad_entry_of_a_batch_fails_alone(tmp_path):
    (tmp_path / "mine.py").write_text(
        "def score(completions): return [1.0, float('nan'), 'good', None]"
    )
    verdicts = load(f"{tmp_path}/mine.py:score").grade(PROBLEM, ["a", "b", "c", "d"])
    assert [v.outcome for v in verdicts] == ["correct", "error", "error", "abstain"]
    assert "returned nan" in verdicts[1].detail and "'good'" in verdicts[2].detail


def test_an_async_function_may_keep_what_is_bound_to_its_event_loop(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import asyncio\nLOOPS = set()\n"
        "async def score(problem, text):\n"
        "    LOOPS.add(asyncio.get_running_loop())\n    return float(len(LOOPS))"
    )
    reward = load(f"{tmp_path}/mine.py:score")
    assert [reward(PROBLEM, "").reward for _ in range(3)] == [1.0, 1.0, 1.0]


def test_a_reference_that_is_a_number_reaches_columns_as_a_number(tmp_path):
    (tmp_path / "mine.py").write_text(
        "def score(completions, answer): return [float(a == 4) for a in answer]"
    )
    reward = load(f"{tmp_path}/mine.py:score")
    assert reward(Problem(id="p", prompt="", answer="4", extra={"answer": 4}), "").reward == 1.0
    way = Problem(id="p", prompt="", answer="4", extra={"answer": "2+2 #### 4"})
    assert reward(way, "").reward == 0.0  # a text: the reference, "4"


# On the command line


def reward_of(*overrides):
    return recipes.load(["recipe=grpo_tiny", *overrides], model=False).reward


PLACE = f"{FOREIGN}/verl_score.py:compute_score"


def test_a_style_or_kwargs_may_be_said_beside_the_file_in_any_order():
    node = {"path": PLACE, "style": "verl"}
    assert reward_of(f"reward={PLACE}") == PLACE
    assert reward_of(f"reward={PLACE}", "reward.style=verl") == node
    assert reward_of("reward.style=verl", f"reward={PLACE}") == node
    assert reward_of(f"reward={{path: '{PLACE}', style: verl}}") == node
    assert reward_of(f"reward={PLACE}", "reward.kwargs.bonus=1")["kwargs"] == {"bonus": 1}


def test_a_reward_that_names_another_thing_starts_afresh(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        f"extends: grpo_tiny\nreward: {{path: '{PLACE}', style: verl, kwargs: {{bonus: 1}}}}\n"
    )

    def laid_over(*overrides):
        return recipes.load([f"recipe={tmp_path}/mine.yaml", *overrides], model=False).reward

    other = PLACE + "_later"
    assert laid_over("reward.style=trl") == {
        "path": PLACE,
        "style": "trl",
        "kwargs": {"bonus": 1},
    }
    assert laid_over(f"reward={other}") == other
    assert laid_over(f"reward={{path: '{other}'}}") == {"path": other}
    math = "rlvr.rewards.math.Math"
    assert laid_over(f"reward._target_={math}") == {"_target_": math}


def test_a_file_that_is_not_there_is_refused_in_a_node_as_well():
    with pytest.raises(ConfigError, match=r"no file .*verl_scores.py; did you mean verl_score.py"):
        reward_of(f"reward.path={FOREIGN}/verl_scores.py:compute_score")


def test_a_style_whose_parameters_a_function_does_not_have_is_refused_with_the_one_that_it_has():
    def score(solution_str, ground_truth):
        return float(solution_str == ground_truth)

    with pytest.raises(RewardSpecError, match="are those of verl; use that style, or none"):
        recognise(score, "f.py:score", "TRL")
