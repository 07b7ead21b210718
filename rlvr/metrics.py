"""Every metric: its name, unit, population and formula; and how a step's numbers are summed.

``python -m rlvr.metrics`` prints the table for the documentation. Names are verl's wherever verl
has one. A part of a name in angle brackets stands for any text without a slash, but ``<source>``
and ``<part>``, which may hold slashes.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    unit: str
    over: str
    """The population: what is counted, averaged or timed."""
    formula: str
    watch: str = ""
    """What a wrong value looks like, and what it means."""


def _seconds(what: str, watch: str = "") -> Metric:
    return Metric(unit="s", over="the step", formula=f"wall time of {what}", watch=watch)


_TRAINED = "rollouts that are trained on"
_TOKENS = "completion tokens that are trained on"
_NEW_TOKENS = "trained tokens whose version is the one that the step starts from"
_GROUPS = "graded groups of the step"
_SAMPLED = "rollouts that finished in the step, kept and dropped"
_GRADED = "all grading since the last step's figures, evaluation's included"
_HELD_OUT = "held-out problems of the source"

METRICS: dict[str, Metric] = {
    "critic/score/mean": Metric(
        unit="reward",
        over=_SAMPLED,
        formula="sum of rewards / graded rollouts",
        watch="flat at 0: nothing is ever right; see difficulty/pass_rate and rewards/no_answer",
    ),
    "critic/rewards/mean": Metric(
        unit="reward",
        over=_TRAINED,
        formula="sum of rewards / rollouts",
        watch="held near the middle by the filter",
    ),
    "critic/rewards/max": Metric(unit="reward", over=_TRAINED, formula="largest reward"),
    "critic/rewards/min": Metric(unit="reward", over=_TRAINED, formula="smallest reward"),
    "critic/vf_loss": Metric(
        unit="reward^2", over=_TOKENS, formula="mean of the value's squared error, halved"
    ),
    "critic/vf_clipfrac": Metric(
        unit="share",
        over=_TOKENS,
        formula="tokens whose value moved past the clip, so that the error is the clipped one's",
    ),
    "critic/vpred_mean": Metric(
        unit="reward", over=_TOKENS, formula="mean value", watch="far off critic/returns/mean"
    ),
    "critic/returns/mean": Metric(
        unit="reward", over=_TOKENS, formula="mean return: what the value is to be"
    ),
    "critic/returns/square_mean": Metric(
        unit="reward^2", over=_TOKENS, formula="mean of the return's square"
    ),
    "critic/residuals/mean": Metric(
        unit="reward", over=_TOKENS, formula="mean of (return - value)"
    ),
    "critic/residuals/square_mean": Metric(
        unit="reward^2", over=_TOKENS, formula="mean of (return - value)^2"
    ),
    "critic/vf_explained_var": Metric(
        unit="share",
        over=_TOKENS,
        formula="1 - variance of (return - value) / variance of the returns, before the update; "
        "left out where the returns are all the same",
        watch="below 0: worse than a constant; pretrain the critic for longer",
    ),
    "critic/vf_explained_var/<part>": Metric(
        unit="share",
        over="tokens in the first or the last quarter of their completion",
        formula="the same over these",
        watch="first_quarter far below last_quarter: beginnings are judged by what the critic "
        "started with",
    ),
    "critic/grad_norm": Metric(
        unit="1", over="all of the critic's", formula="2-norm of the gradient before clipping"
    ),
    "critic/lr": Metric(unit="1", over="the last update", formula="the critic's learning rate"),
    "critic/skipped": Metric(
        unit="updates",
        over="the step's updates of the critic",
        formula="those not taken because the gradient was not finite",
        watch="above 0 more than once",
    ),
    "response_length/mean": Metric(
        unit="tokens", over=_TRAINED, formula="completion tokens / rollouts"
    ),
    "response_length/max": Metric(unit="tokens", over=_TRAINED, formula="longest completion"),
    "response_length/min": Metric(unit="tokens", over=_TRAINED, formula="shortest completion"),
    "response_length/clip_ratio": Metric(
        unit="share",
        over=_TRAINED,
        formula="rollouts that finished with length / rollouts",
        watch="rising: answers no longer fit; raise sampling.max_tokens",
    ),
    "prompt_length/mean": Metric(unit="tokens", over=_TRAINED, formula="prompt tokens / rollouts"),
    "prompt_length/max": Metric(unit="tokens", over=_TRAINED, formula="longest prompt"),
    "actor/pg_loss": Metric(
        unit="1", over=_TOKENS, formula="sum of the tokens' shares under learner.aggregation"
    ),
    "actor/ppo_kl": Metric(
        unit="nats",
        over=_TOKENS,
        formula="mean of (sampled - trained log-prob)",
        watch="beyond 0.1: steps are too large, or the samples too old",
    ),
    "actor/pg_clipfrac": Metric(
        unit="share", over=_TOKENS, formula="tokens whose ratio is clipped / tokens"
    ),
    "actor/ratio_mean": Metric(
        unit="1", over=_TOKENS, formula="mean of exp(trained - sampled log-prob)", watch="far off 1"
    ),
    "actor/entropy": Metric(
        unit="nats",
        over=_TOKENS,
        formula="mean entropy of the distribution that each token is drawn from",
        watch="falling to 0: the policy stops exploring",
    ),
    "actor/grad_norm": Metric(
        unit="1", over="all parameters", formula="2-norm of the gradient before clipping"
    ),
    "actor/lr": Metric(unit="1", over="the last update", formula="learning rate"),
    "actor/skipped": Metric(
        unit="updates",
        over="the step's updates",
        formula="those not taken because the gradient was not finite",
        watch="above 0 more than once",
    ),
    "actor/pg_clipfrac_lower": Metric(
        unit="share", over=_TOKENS, formula="tokens that the dual clip holds / tokens"
    ),
    "actor/pg_dropfrac": Metric(
        unit="share",
        over=_TOKENS,
        formula="tokens outside the trust region, whose gradient is dropped / tokens",
    ),
    "actor/gate_mean": Metric(
        unit="share",
        over=_TOKENS,
        formula="mean slope that a soft gate lets through, 1 on-policy",
        watch="falling: the samples are too old for the gate",
    ),
    "actor/nft_floored": Metric(
        unit="share", over=_TOKENS, formula="tokens of wrong answers at the loss's floor / tokens"
    ),
    "actor/nll": Metric(
        unit="nats",
        over="completion tokens that are trained on and have a positive advantage, or are of "
        "correct samples, whichever the loss imitates",
        formula="mean of -log-prob",
    ),
    "actor/positive_share": Metric(
        unit="share",
        over=_TOKENS,
        formula="tokens (sequences, of a loss on these) that the loss imitates / all",
        watch="near 0: little is left to imitate",
    ),
    "actor/sequence_weight": Metric(
        unit="1",
        over=_TOKENS,
        formula="mean of the factor that a loss puts on a token for its sequence's ratio, 1 "
        "on-policy",
        watch="near 0: the samples are too old to learn from",
    ),
    "actor/negative_weight": Metric(
        unit="1",
        over="completion tokens that are trained on and have a negative advantage",
        formula="mean of their sequence's ratio, as far as the loss lets it count",
        watch="near 0: what went badly no longer teaches anything",
    ),
    "actor/behaviour_weight": Metric(
        unit="1",
        over=_TOKENS,
        formula="mean of exp(proximal - sampled log-prob) as a factor of the loss, capped",
        watch="far off 1: the samples are too old",
    ),
    "actor/behaviour_capped": Metric(
        unit="share", over=_TOKENS, formula="tokens whose factor is beyond the cap / tokens"
    ),
    "actor/rewards/margins": Metric(
        unit="1",
        over="pairs that are trained on",
        formula="mean of the implicit reward of the better answer less that of the worse one",
        watch="flat at 0: nothing is learnt from the pairs",
    ),
    "actor/rewards/accuracies": Metric(
        unit="share",
        over="pairs that are trained on",
        formula="those whose better answer has the larger implicit reward / pairs",
        watch="at 1: nothing is left to learn from the pairs",
    ),
    "mismatch/logprob_abs_mean": Metric(
        unit="nats",
        over=_NEW_TOKENS,
        formula="mean of |sampled - trained log-prob| before the first update",
        watch="above 1e-3 in float32 or 0.1 in bfloat16: engine and learner compute different "
        "models",
    ),
    "mismatch/logprob_abs_max": Metric(
        unit="nats", over=_NEW_TOKENS, formula="largest |sampled - trained log-prob|"
    ),
    "mismatch/k3": Metric(
        unit="nats",
        over=_NEW_TOKENS,
        formula="mean of exp(d) - 1 - d with d = trained - sampled log-prob "
        "(an estimate of KL(sampler, trainer) that is never negative)",
    ),
    "actor/kl_loss": Metric(
        unit="nats",
        over=_TOKENS,
        formula="mean of the term's estimate of KL(trained, reference), before its coefficient",
        watch="rising without end: the coefficient does not hold the policy",
    ),
    "actor/kl_coef": Metric(unit="1", over=_TOKENS, formula="coefficient of actor/kl_loss"),
    "actor/entropy_coef": Metric(
        unit="1",
        over=_TOKENS,
        formula="coefficient that the loss pays entropy with; below 0 it charges for it",
        watch="at its upper bound: the bonus does not stop the entropy from falling",
    ),
    "rollout_corr/kl": Metric(
        unit="nats",
        over=_TOKENS,
        formula="mean of -log w, w = trained / sampled probability before the step: "
        "an estimate of KL(sampler, trained)",
        watch="beyond 0.01 without staleness: engine and learner compute different models",
    ),
    "rollout_corr/k3_kl": Metric(
        unit="nats",
        over=_TOKENS,
        formula="mean of w - 1 - log w (an estimate of KL(sampler, trained), never negative)",
    ),
    "rollout_corr/ratio_mean": Metric(
        unit="1", over=_TOKENS, formula="mean of w", watch="far off 1"
    ),
    "rollout_corr/chi2_token": Metric(
        unit="1",
        over=_TOKENS,
        formula="mean of w^2 - 1",
        watch="above 1: a few tokens carry the gradient",
    ),
    "rollout_corr/rollout_is_eff_sample_size": Metric(
        unit="share",
        over=_TOKENS,
        formula="(mean of w)^2 / mean of w^2, before any truncation",
        watch="below 0.5: half of the tokens are lost to the variance of the weights",
    ),
    "rollout_corr/ratio_fraction_above_2": Metric(
        unit="share", over=_TOKENS, formula="tokens with w > 2 / tokens"
    ),
    "rollout_corr/ratio_fraction_below_half": Metric(
        unit="share", over=_TOKENS, formula="tokens with w < 1/2 / tokens"
    ),
    "rollout_corr/log_ratio_abs_max": Metric(unit="nats", over=_TOKENS, formula="largest |log w|"),
    "rollout_corr/chi2_seq": Metric(
        unit="1",
        over=_TRAINED,
        formula="mean of (product of w)^2 - 1",
        watch="grows with the length of completions alone",
    ),
    "rollout_corr/training_ppl": Metric(
        unit="1", over=_TRAINED, formula="mean of exp(-mean trained log-prob)"
    ),
    "rollout_corr/training_log_ppl": Metric(
        unit="nats", over=_TRAINED, formula="mean of -mean trained log-prob"
    ),
    "rollout_corr/rollout_ppl": Metric(
        unit="1", over=_TRAINED, formula="mean of exp(-mean sampled log-prob)"
    ),
    "rollout_corr/rollout_log_ppl": Metric(
        unit="nats", over=_TRAINED, formula="mean of -mean sampled log-prob"
    ),
    "rollout_corr/ppl_ratio": Metric(
        unit="1",
        over=_TRAINED,
        formula="mean of exp(-mean log w): trained over sampled perplexity",
        watch="far off 1",
    ),
    "rollout_corr/log_ppl_diff": Metric(unit="nats", over=_TRAINED, formula="mean of -mean log w"),
    "rollout_corr/log_ppl_abs_diff": Metric(
        unit="nats", over=_TRAINED, formula="mean of |mean log w|"
    ),
    "rollout_corr/log_ppl_diff_max": Metric(
        unit="nats", over=_TRAINED, formula="largest -mean log w: that of the most unlikely one"
    ),
    "rollout_corr/seq_geometric_log_ratio_max": Metric(
        unit="nats", over=_TRAINED, formula="largest mean log w"
    ),
    "rollout_corr/seq_log_ratio_abs_max": Metric(
        unit="nats", over=_TRAINED, formula="largest |sum of log w|"
    ),
    "rollout_corr/rollout_is_mean": Metric(
        unit="1", over=_TOKENS, formula="mean of the weights that a correction applies"
    ),
    "rollout_corr/rollout_is_ratio_fraction_high": Metric(
        unit="share",
        over="trained tokens, or rollouts where the correction weights these",
        formula="those whose w, or product of w, is above the correction's upper bound",
    ),
    "rollout_corr/rollout_is_ratio_fraction_low": Metric(
        unit="share",
        over="trained tokens, or rollouts where the correction weights these",
        formula="those whose w, or product of w, is under the correction's lower bound "
        "(1 / the upper one where it has none)",
    ),
    "rollout_corr/rollout_is_oob_ratio": Metric(
        unit="share", over=_TOKENS, formula="tokens whose w is outside the correction's bounds"
    ),
    "rollout_corr/rollout_rs_masked_fraction": Metric(
        unit="share",
        over=_TOKENS,
        formula="tokens that the corrections together leave out / tokens",
        watch="above 0.1: what is sampled is mostly thrown away; reduce max_lag or the mismatch",
    ),
    "rollout_corr/<filter>_seq_masked_fraction": Metric(
        unit="share",
        over=_TRAINED,
        formula="rollouts of which this filter leaves out a token / rollouts",
    ),
    "rollout_corr/<filter>_masked_fraction": Metric(
        unit="share", over=_TOKENS, formula="tokens that this filter leaves out / tokens"
    ),
    "difficulty/pass_rate": Metric(
        unit="share",
        over=_GROUPS,
        formula="mean over groups of (rollouts with outcome correct / graded rollouts)",
        watch="flat at 0: nothing is ever right; near 1: the problems are used up",
    ),
    "difficulty/kept": Metric(unit="groups", over=_GROUPS, formula="groups that train"),
    "difficulty/dropped": Metric(unit="groups", over=_GROUPS, formula="groups that do not train"),
    "difficulty/relaxed": Metric(
        unit="groups",
        over=_GROUPS,
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
        over=_GROUPS,
        formula="groups dropped for that reason",
        watch="most of them: widen the filter's band, or change the data",
    ),
    "loop/lag_mean": Metric(
        unit="updates",
        over=_TOKENS,
        formula="mean of (version that the step starts from - version that sampled the token)",
    ),
    "loop/lag_max": Metric(
        unit="updates", over=_TOKENS, formula="the largest of these", watch="above max_lag"
    ),
    "loop/stale": Metric(
        unit="groups", over="groups of the step", formula="those dropped as older than max_lag"
    ),
    "loop/in_flight": Metric(
        unit="problems", over="the end of the step", formula="problems being sampled or graded"
    ),
    "loop/ready": Metric(
        unit="groups", over="the end of the step", formula="kept groups that wait to be trained on"
    ),
    "loop/version": Metric(
        unit="updates", over="the run", formula="optimizer updates that every engine has confirmed"
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
        over=_GRADED,
        formula="seconds that grading processes worked / seconds that there were of them",
        watch="near 1: grading holds up the run; add reward_service.processes or workers",
    ),
    "reward/killed": Metric(
        unit="processes", over=_GRADED, formula="grading processes that overran and were killed"
    ),
    "reward/died": Metric(
        unit="processes",
        over=_GRADED,
        formula="grading processes that ended by themselves",
        watch="above 0: a crash in native code, or the machine lacks memory",
    ),
    "reward/queue_seconds": Metric(
        unit="s",
        over=_GRADED,
        formula="mean over texts of the time from their arrival at a worker to their dispatch",
        watch="above the latency: more processes would speed the run up",
    ),
    "reward/latency_seconds/p50": Metric(
        unit="s",
        over=_GRADED,
        formula="median over texts of the time from dispatch to verdict (of the whole group, where "
        "one call grades it)",
    ),
    "reward/latency_seconds/p99": Metric(
        unit="s",
        over=_GRADED,
        formula="its 99th percentile",
        watch="near reward_service.seconds: verdicts are about to time out",
    ),
    "reward/cache_hits": Metric(
        unit="verdicts", over=_GRADED, formula="those that were known from an equal answer"
    ),
    "reward/cache_hit_rate": Metric(unit="share", over=_GRADED, formula="these / all verdicts"),
    "probe/prefixes": Metric(
        unit="prefixes",
        over=_SAMPLED,
        formula="those of its rollouts from which the policy went on, equal ones of a problem once",
    ),
    "probe/samples": Metric(
        unit="completions", over=_SAMPLED, formula="those that were sampled from the prefixes"
    ),
    "probe/tokens": Metric(
        unit="tokens",
        over=_SAMPLED,
        formula="completion tokens of these, without the prefixes; not in perf/tokens",
        watch="far above perf/tokens: fewer probe.cuts or probe.samples make steps faster",
    ),
    "probe/ungraded": Metric(
        unit="completions",
        over=_SAMPLED,
        formula="those whose grader failed or abstained; they leave their prefix's mean",
    ),
    "probe/left_out": Metric(
        unit="prefixes",
        over=_SAMPLED,
        formula="those without a value: no token was left, or no completion could be graded",
        watch="near probe/prefixes: rollouts have no credit by steps; raise sampling.max_tokens",
    ),
    "probe/success_rate": Metric(
        unit="reward",
        over=_SAMPLED,
        formula="mean over the prefixes of their completions' mean reward without shaping",
    ),
    "timing_s/gen": _seconds("waiting for the step's groups", "most of the step: add engines"),
    "timing_s/update_actor": _seconds("the step's optimizer updates"),
    "timing_s/sync": _seconds("sending, loading and proving the weights"),
    "sync/<measure>": Metric(
        unit="see name",
        over="all engines",
        formula="the largest: bytes loaded, seconds, version confirmed, and probe_difference, the "
        "mean absolute difference (nats) of engine and learner on the probe",
        watch="probe_difference rising: an engine computes with something else than it was sent",
    ),
    "timing_s/sync_send": _seconds("putting them into the channel"),
    "timing_s/sync_load": _seconds("loading and proving them in every engine"),
    "timing_s/save": _seconds("writing a checkpoint"),
    "timing_s/testing": _seconds("evaluating on held-out problems"),
    "timing_s/step": _seconds("the whole step, without evaluation and checkpoint"),
    "perf/throughput": Metric(
        unit="tokens/s",
        over=_SAMPLED,
        formula="completion tokens / seconds since the last step's figure was taken",
    ),
    "perf/tokens": Metric(unit="tokens", over=_SAMPLED, formula="completion tokens, if graded"),
    "perf/samples": Metric(unit="rollouts", over=_SAMPLED, formula="their number"),
    "perf/total_num_tokens": Metric(
        unit="tokens", over="the step's batch", formula="prompt and completion tokens"
    ),
    "perf/loss_tokens": Metric(unit="tokens", over=_TOKENS, formula="their number"),
    "perf/microbatches": Metric(
        unit="1", over="all ranks and updates of the step", formula="micro-batches"
    ),
    "perf/padding_share": Metric(
        unit="share", over="positions computed in the step", formula="padding / positions"
    ),
    "perf/peak_rss_mb": Metric(unit="MB", over="learner ranks", formula="largest resident memory"),
    "val-aux/all/ungraded": Metric(
        unit="answers",
        over="all held-out answers of one evaluation",
        formula="those that the grader could not judge; they count as not correct",
        watch="above 0: the accuracies are too low by as much",
    ),
    "val-core/<source>/acc/mean@<n>": Metric(
        unit="share",
        over=_HELD_OUT,
        formula="correct samples / samples, n per problem at the training temperature",
    ),
    "val-core/<source>/acc/greedy": Metric(
        unit="share", over=_HELD_OUT, formula="problems right at temperature 0 / problems"
    ),
}


def describe(key: str) -> Metric | None:
    """What a logged key means; None for a key that no metric has, as a plug-in's own."""
    if key in METRICS:
        return METRICS[key]
    matches = (metric for name, metric in METRICS.items() if _pattern(name).fullmatch(key))
    return next(matches, None)


def _pattern(name: str) -> re.Pattern[str]:
    literal = re.escape(name).replace("<source>", ".+").replace("<part>", ".+")
    return re.compile(re.sub(r"<\w+>", "[^/]+", literal))


def markdown() -> str:
    """The table for the documentation."""
    lines = ["| metric | unit | over | what it is | what to watch for |", "|---|---|---|---|---|"]
    for name, m in METRICS.items():
        cells = (cell.replace("|", "\\|") for cell in (m.unit, m.over, m.formula, m.watch))
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


@dataclass(slots=True)
class Window:
    """A step's numbers, kept as sums and counts so that a mean is over all of its population.

    Micro-batches, ranks and groups of different sizes may be added in any order; nothing averages
    averages. What was never added is not reported, rather than reported as 0.
    """

    _totals: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    _counts: dict[str, float] = field(default_factory=dict[str, float])
    _sums: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    _largest: dict[str, float] = field(default_factory=dict[str, float])
    _smallest: dict[str, float] = field(default_factory=dict[str, float])

    def mean(self, key: str, total: float, count: float = 1) -> None:
        """Add a ``total`` over ``count`` members of the population; the mean is reported."""
        self._totals.setdefault(key, []).append(total)
        self._counts[key] = self._counts.get(key, 0) + count

    def total(self, key: str, amount: float = 1) -> None:
        """Add to a sum, such as a number of groups; an ``amount`` of 0 makes it appear."""
        self._sums.setdefault(key, []).append(amount)

    def largest(self, key: str, value: float) -> None:
        """Keep the largest value."""
        self._largest[key] = max(self._largest.get(key, value), value)

    def smallest(self, key: str, value: float) -> None:
        """Keep the smallest value."""
        self._smallest[key] = min(self._smallest.get(key, value), value)

    def add(self, other: Window) -> None:
        """Add another window's population to this one."""
        for key, totals in other._totals.items():
            self._totals.setdefault(key, []).extend(totals)
            self._counts[key] = self._counts.get(key, 0) + other._counts[key]
        for key, amounts in other._sums.items():
            self._sums.setdefault(key, []).extend(amounts)
        for key, value in other._largest.items():
            self.largest(key, value)
        for key, value in other._smallest.items():
            self.smallest(key, value)

    def values(self) -> dict[str, float]:
        """The metrics of all that was added; a mean over no member is left out."""
        counted = {key: count for key, count in self._counts.items() if count}
        means = {key: _sum(self._totals[key]) / count for key, count in counted.items()}
        sums = {key: _sum(amounts) for key, amounts in self._sums.items()}
        return {**means, **sums, **self._largest, **self._smallest}

    def drain(self) -> dict[str, float]:
        """The metrics, leaving the window empty for the next step."""
        values = self.values()
        for part in (self._totals, self._counts, self._sums, self._largest, self._smallest):
            part.clear()
        return values


def _sum(values: list[float]) -> float:
    # fsum is exact, so the order of adding leaves no trace; but it raises on inf - inf.
    return math.fsum(values) if all(map(math.isfinite, values)) else sum(values)


if __name__ == "__main__":
    print(markdown())
