"""Of what was sampled: rewards, verdicts, difficulty, and what grading cost."""

from __future__ import annotations

from rlvr.metric_tables.metric import GRADED, GROUPS, SAMPLED, TRAINED, Metric

METRICS: dict[str, Metric] = {
    "critic/score/mean": Metric(
        unit="reward",
        over=SAMPLED,
        formula="sum of rewards / graded rollouts",
        watch="flat at 0: nothing is ever right; see difficulty/pass_rate and rewards/no_answer",
    ),
    "critic/rewards/mean": Metric(
        unit="reward",
        over=TRAINED,
        formula="sum of rewards / rollouts",
        watch="held near the middle by the filter",
    ),
    "critic/rewards/max": Metric(unit="reward", over=TRAINED, formula="largest reward"),
    "critic/rewards/min": Metric(unit="reward", over=TRAINED, formula="smallest reward"),
    "difficulty/pass_rate": Metric(
        unit="share",
        over=GROUPS,
        formula="mean over groups of (rollouts with outcome correct / graded rollouts)",
        watch="flat at 0: nothing is ever right; near 1: the problems are used up",
    ),
    "difficulty/kept": Metric(unit="groups", over=GROUPS, formula="groups that train"),
    "difficulty/dropped": Metric(unit="groups", over=GROUPS, formula="groups that do not train"),
    "difficulty/relaxed": Metric(
        unit="groups",
        over=GROUPS,
        formula="groups that train though the filter would drop them (relax_after_steps)",
        watch="above 0: nothing in the filter's band comes any more",
    ),
    "difficulty/resting": Metric(
        unit="problems",
        over="problems drawn in the step",
        formula="those that the filter passed over before any rollout was paid for",
    ),
    "difficulty/ungraded": Metric(
        unit="groups",
        over="groups of the step",
        formula="those with fewer than min_graded graded rollouts",
        watch="above 0: see rewards/timeout, rewards/error and rewards/abstain",
    ),
    "difficulty/<reason>": Metric(
        unit="groups",
        over=GROUPS,
        formula="groups dropped for that reason",
        watch="most of them: widen the filter's band, or change the data",
    ),
    "rewards/<outcome>": Metric(
        unit="rollouts",
        over="rollouts graded or tried in the step",
        formula="verdicts with that outcome (correct, wrong, no_answer; and of the grader: "
        "gold_unparsed, timeout, error, abstain)",
        watch="timeout, error: the grader fails; these never train, but fewer samples do",
    ),
    "reward/rate/<outcome>": Metric(
        unit="share",
        over="rollouts graded or tried in the step",
        formula="verdicts with that outcome / verdicts",
        watch="timeout + error past reward_service.max_failure_rate stops the run",
    ),
    "reward/part/<part>": Metric(
        unit="reward",
        over="verdicts of the step that have the part",
        formula="mean of a number that a reward logs apart, or of what a shaping added",
    ),
    "reward/workers": Metric(
        unit="workers",
        over="the end of the step",
        formula="reward workers that are alive",
        watch="fewer than reward_service.workers: their logs say why they died",
    ),
    "reward/waiting": Metric(
        unit="texts", over="the end of the step", formula="those being graded or waiting for it"
    ),
    "reward/busy": Metric(
        unit="share",
        over=GRADED,
        formula="seconds that grading processes worked / seconds that there were of them",
        watch="near 1: grading holds up the run; add reward_service.processes or workers",
    ),
    "reward/killed": Metric(
        unit="processes", over=GRADED, formula="grading processes that overran and were killed"
    ),
    "reward/died": Metric(
        unit="processes",
        over=GRADED,
        formula="grading processes that ended by themselves",
        watch="above 0: a crash in native code, or the machine lacks memory",
    ),
    "reward/queue_seconds": Metric(
        unit="s",
        over=GRADED,
        formula="mean over texts of the time from their arrival at a worker to their dispatch",
        watch="above the latency: more processes would speed the run up",
    ),
    "reward/latency_seconds/p50": Metric(
        unit="s",
        over=GRADED,
        formula="median over texts of the time from dispatch to verdict (of the whole group, where "
        "one call grades it)",
    ),
    "reward/latency_seconds/p99": Metric(
        unit="s",
        over=GRADED,
        formula="its 99th percentile",
        watch="near reward_service.seconds: verdicts are about to time out",
    ),
    "reward/cache_hits": Metric(
        unit="verdicts", over=GRADED, formula="those that were known from an equal answer"
    ),
    "reward/cache_hit_rate": Metric(unit="share", over=GRADED, formula="these / all verdicts"),
    "probe/prefixes": Metric(
        unit="prefixes",
        over=SAMPLED,
        formula="those of its rollouts from which the policy went on, equal ones of a problem once",
    ),
    "probe/samples": Metric(
        unit="completions", over=SAMPLED, formula="those that were sampled from the prefixes"
    ),
    "probe/tokens": Metric(
        unit="tokens",
        over=SAMPLED,
        formula="completion tokens of these, without the prefixes; not in perf/tokens",
        watch="far above perf/tokens: fewer probe.cuts or probe.samples make steps faster",
    ),
    "probe/ungraded": Metric(
        unit="completions",
        over=SAMPLED,
        formula="those whose grader failed or abstained; they leave their prefix's mean",
    ),
    "probe/left_out": Metric(
        unit="prefixes",
        over=SAMPLED,
        formula="those without a value: no token was left, or no completion could be graded",
        watch="near probe/prefixes: rollouts have no credit by steps; raise sampling.max_tokens",
    ),
    "probe/success_rate": Metric(
        unit="reward",
        over=SAMPLED,
        formula="mean over the prefixes of their completions' mean reward without shaping",
    ),
}
