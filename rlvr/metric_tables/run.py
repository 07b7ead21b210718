"""Of the step and the run: lengths, staleness, weights, throughput, times, evaluation."""

from __future__ import annotations

from rlvr.metric_tables.metric import HELD_OUT, SAMPLED, TOKENS, TRAINED, Metric, seconds

METRICS: dict[str, Metric] = {
    "response_length/mean": Metric(
        unit="tokens", over=TRAINED, formula="completion tokens / rollouts"
    ),
    "response_length/max": Metric(unit="tokens", over=TRAINED, formula="longest completion"),
    "response_length/min": Metric(unit="tokens", over=TRAINED, formula="shortest completion"),
    "response_length/clip_ratio": Metric(
        unit="share",
        over=TRAINED,
        formula="rollouts that finished with length / rollouts",
        watch="rising: answers no longer fit; raise sampling.max_tokens",
    ),
    "prompt_length/mean": Metric(unit="tokens", over=TRAINED, formula="prompt tokens / rollouts"),
    "prompt_length/max": Metric(unit="tokens", over=TRAINED, formula="longest prompt"),
    "rollout/temperature": Metric(
        unit="1",
        over="the next step's rollouts",
        formula="sampling temperature, where entropy steers it",
        watch="at a bound: the target entropy is out of its reach",
    ),
    "loop/lag_mean": Metric(
        unit="updates",
        over=TOKENS,
        formula="mean of (version that the step starts from - version that sampled the token)",
    ),
    "loop/lag_max": Metric(
        unit="updates", over=TOKENS, formula="the largest of these", watch="above max_lag"
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
    "timing_s/adv": seconds("scoring the step's tokens and making advantages of its rewards"),
    "timing_s/gen": seconds("waiting for the step's groups", "most of the step: add engines"),
    "timing_s/update_actor": seconds("the step's optimizer updates"),
    "timing_s/sync": seconds("sending, loading and proving the weights"),
    "sync/<measure>": Metric(
        unit="see name",
        over="all engines",
        formula="the largest: bytes loaded, seconds, version confirmed, and probe_difference, the "
        "mean absolute difference (nats) of engine and learner on the probe",
        watch="probe_difference rising: an engine computes with something else than it was sent",
    ),
    "timing_s/sync_send": seconds("putting them into the channel"),
    "timing_s/sync_load": seconds("loading and proving them in every engine"),
    "timing_s/save": seconds("writing a checkpoint"),
    "timing_s/testing": seconds("evaluating on held-out problems"),
    "timing_s/step": seconds("the whole step, without evaluation and checkpoint"),
    "perf/throughput": Metric(
        unit="tokens/s",
        over=SAMPLED,
        formula="completion tokens / seconds since the last step's figure was taken",
    ),
    "perf/tokens": Metric(unit="tokens", over=SAMPLED, formula="completion tokens, if graded"),
    "perf/samples": Metric(unit="rollouts", over=SAMPLED, formula="their number"),
    "perf/total_num_tokens": Metric(
        unit="tokens", over="the step's batch", formula="prompt and completion tokens"
    ),
    "perf/loss_tokens": Metric(unit="tokens", over=TOKENS, formula="their number"),
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
        over=HELD_OUT,
        formula="correct samples / samples, n per problem at the training temperature",
    ),
    "val-core/<source>/acc/greedy": Metric(
        unit="share", over=HELD_OUT, formula="problems right at temperature 0 / problems"
    ),
}
