"""Of the optimizer updates: the policy, its critic, and how far sampler and learner are apart."""

from __future__ import annotations

from rlvr.metric_tables.metric import NEW_TOKENS, TOKENS, TRAINED, Metric

METRICS: dict[str, Metric] = {
    "critic/advantages/mean": Metric(unit="reward", over=TOKENS, formula="mean advantage"),
    "critic/advantages/max": Metric(unit="reward", over=TOKENS, formula="largest advantage"),
    "critic/advantages/min": Metric(unit="reward", over=TOKENS, formula="smallest advantage"),
    "actor/reward_kl_penalty": Metric(
        unit="nats",
        over=TRAINED,
        formula="mean over rollouts of the mean over tokens of the estimate of "
        "KL(policy, reference), before its coefficient",
    ),
    "actor/reward_kl_penalty_coeff": Metric(
        unit="reward / nat", over="the step", formula="coefficient of actor/reward_kl_penalty"
    ),
    "critic/vf_loss": Metric(
        unit="reward^2", over=TOKENS, formula="mean of the value's squared error, halved"
    ),
    "critic/vf_clipfrac": Metric(
        unit="share",
        over=TOKENS,
        formula="tokens whose value moved past the clip, so that the error is the clipped one's",
    ),
    "critic/vpred_mean": Metric(
        unit="reward", over=TOKENS, formula="mean value", watch="far off critic/returns/mean"
    ),
    "critic/returns/mean": Metric(
        unit="reward", over=TOKENS, formula="mean return: what the value is to be"
    ),
    "critic/returns/square_mean": Metric(
        unit="reward^2", over=TOKENS, formula="mean of the return's square"
    ),
    "critic/residuals/mean": Metric(unit="reward", over=TOKENS, formula="mean of (return - value)"),
    "critic/residuals/square_mean": Metric(
        unit="reward^2", over=TOKENS, formula="mean of (return - value)^2"
    ),
    "critic/vf_explained_var": Metric(
        unit="share",
        over=TOKENS,
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
    "actor/pg_loss": Metric(
        unit="1", over=TOKENS, formula="sum of the tokens' shares under learner.aggregation"
    ),
    "actor/ppo_kl": Metric(
        unit="nats",
        over=TOKENS,
        formula="mean of (sampled - trained log-prob)",
        watch="beyond 0.1: steps are too large, or the samples too old",
    ),
    "actor/pg_clipfrac": Metric(
        unit="share", over=TOKENS, formula="tokens whose ratio is clipped / tokens"
    ),
    "actor/ratio_mean": Metric(
        unit="1", over=TOKENS, formula="mean of exp(trained - sampled log-prob)", watch="far off 1"
    ),
    "actor/entropy": Metric(
        unit="nats",
        over=TOKENS,
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
        unit="share", over=TOKENS, formula="tokens that the dual clip holds / tokens"
    ),
    "actor/pg_dropfrac": Metric(
        unit="share",
        over=TOKENS,
        formula="tokens outside the trust region, whose gradient is dropped / tokens",
    ),
    "actor/gate_mean": Metric(
        unit="share",
        over=TOKENS,
        formula="mean slope that a soft gate lets through, 1 on-policy",
        watch="falling: the samples are too old for the gate",
    ),
    "actor/nft_floored": Metric(
        unit="share", over=TOKENS, formula="tokens of wrong answers at the loss's floor / tokens"
    ),
    "actor/nll": Metric(
        unit="nats",
        over="completion tokens that are trained on and have a positive advantage, or are of "
        "correct samples, whichever the loss imitates",
        formula="mean of -log-prob",
    ),
    "actor/positive_share": Metric(
        unit="share",
        over=TOKENS,
        formula="tokens (sequences, of a loss on these) that the loss imitates / all",
        watch="near 0: little is left to imitate",
    ),
    "actor/sequence_weight": Metric(
        unit="1",
        over=TOKENS,
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
        over=TOKENS,
        formula="mean of exp(proximal - sampled log-prob) as a factor of the loss, capped",
        watch="far off 1: the samples are too old",
    ),
    "actor/behaviour_capped": Metric(
        unit="share", over=TOKENS, formula="tokens whose factor is beyond the cap / tokens"
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
        over=NEW_TOKENS,
        formula="mean of |sampled - trained log-prob| before the first update",
        watch="above 1e-3 in float32 or 0.1 in bfloat16: engine and learner compute different "
        "models",
    ),
    "mismatch/logprob_abs_max": Metric(
        unit="nats", over=NEW_TOKENS, formula="largest |sampled - trained log-prob|"
    ),
    "mismatch/k3": Metric(
        unit="nats",
        over=NEW_TOKENS,
        formula="mean of exp(d) - 1 - d with d = trained - sampled log-prob "
        "(an estimate of KL(sampler, trainer) that is never negative)",
    ),
    "actor/kl_loss": Metric(
        unit="nats",
        over=TOKENS,
        formula="mean of the term's estimate of KL(trained, reference), before its coefficient",
        watch="rising without end: the coefficient does not hold the policy",
    ),
    "actor/kl_coef": Metric(unit="1", over=TOKENS, formula="coefficient of actor/kl_loss"),
    "actor/entropy_coef": Metric(
        unit="1",
        over=TOKENS,
        formula="coefficient that the loss pays entropy with; below 0 it charges for it",
        watch="at its upper bound: the bonus does not stop the entropy from falling",
    ),
    "rollout_corr/kl": Metric(
        unit="nats",
        over=TOKENS,
        formula="mean of -log w, w = trained / sampled probability before the step: "
        "an estimate of KL(sampler, trained)",
        watch="beyond 0.01 without staleness: engine and learner compute different models",
    ),
    "rollout_corr/k3_kl": Metric(
        unit="nats",
        over=TOKENS,
        formula="mean of w - 1 - log w (an estimate of KL(sampler, trained), never negative)",
    ),
    "rollout_corr/ratio_mean": Metric(
        unit="1", over=TOKENS, formula="mean of w", watch="far off 1"
    ),
    "rollout_corr/chi2_token": Metric(
        unit="1",
        over=TOKENS,
        formula="mean of w^2 - 1",
        watch="above 1: a few tokens carry the gradient",
    ),
    "rollout_corr/rollout_is_eff_sample_size": Metric(
        unit="share",
        over=TOKENS,
        formula="(mean of w)^2 / mean of w^2, before any truncation",
        watch="below 0.5: half of the tokens are lost to the variance of the weights",
    ),
    "rollout_corr/ratio_fraction_above_2": Metric(
        unit="share", over=TOKENS, formula="tokens with w > 2 / tokens"
    ),
    "rollout_corr/ratio_fraction_below_half": Metric(
        unit="share", over=TOKENS, formula="tokens with w < 1/2 / tokens"
    ),
    "rollout_corr/log_ratio_abs_max": Metric(unit="nats", over=TOKENS, formula="largest |log w|"),
    "rollout_corr/chi2_seq": Metric(
        unit="1",
        over=TRAINED,
        formula="mean of (product of w)^2 - 1",
        watch="grows with the length of completions alone",
    ),
    "rollout_corr/training_ppl": Metric(
        unit="1", over=TRAINED, formula="mean of exp(-mean trained log-prob)"
    ),
    "rollout_corr/training_log_ppl": Metric(
        unit="nats", over=TRAINED, formula="mean of -mean trained log-prob"
    ),
    "rollout_corr/rollout_ppl": Metric(
        unit="1", over=TRAINED, formula="mean of exp(-mean sampled log-prob)"
    ),
    "rollout_corr/rollout_log_ppl": Metric(
        unit="nats", over=TRAINED, formula="mean of -mean sampled log-prob"
    ),
    "rollout_corr/ppl_ratio": Metric(
        unit="1",
        over=TRAINED,
        formula="mean of exp(-mean log w): trained over sampled perplexity",
        watch="far off 1",
    ),
    "rollout_corr/log_ppl_diff": Metric(unit="nats", over=TRAINED, formula="mean of -mean log w"),
    "rollout_corr/log_ppl_abs_diff": Metric(
        unit="nats", over=TRAINED, formula="mean of |mean log w|"
    ),
    "rollout_corr/log_ppl_diff_max": Metric(
        unit="nats", over=TRAINED, formula="largest -mean log w: that of the most unlikely one"
    ),
    "rollout_corr/seq_geometric_log_ratio_max": Metric(
        unit="nats", over=TRAINED, formula="largest mean log w"
    ),
    "rollout_corr/seq_log_ratio_abs_max": Metric(
        unit="nats", over=TRAINED, formula="largest |sum of log w|"
    ),
    "rollout_corr/rollout_is_mean": Metric(
        unit="1", over=TOKENS, formula="mean of the weights that a correction applies"
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
        unit="share", over=TOKENS, formula="tokens whose w is outside the correction's bounds"
    ),
    "rollout_corr/rollout_rs_masked_fraction": Metric(
        unit="share",
        over=TOKENS,
        formula="tokens that the corrections together leave out / tokens",
        watch="above 0.1: what is sampled is mostly thrown away; reduce max_lag or the mismatch",
    ),
    "rollout_corr/<filter>_seq_masked_fraction": Metric(
        unit="share",
        over=TRAINED,
        formula="rollouts of which this filter leaves out a token / rollouts",
    ),
    "rollout_corr/<filter>_masked_fraction": Metric(
        unit="share", over=TOKENS, formula="tokens that this filter leaves out / tokens"
    ),
}
