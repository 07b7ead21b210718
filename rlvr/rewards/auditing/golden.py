"""What a verifier's verdicts on golden cases add up to, and the bounds that they are held to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlvr.rewards.auditing.suites import Case
from rlvr.types import Outcome, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Graded:
    """A case with the verdict on it."""

    case: Case
    verdict: Verdict
    seconds: float
    mirrored: Outcome | None
    """With reference and answer exchanged; None for a case that can't be turned round."""

    @property
    def passed(self) -> bool:
        return self.verdict.outcome is Outcome.CORRECT

    @property
    def is_false_negative(self) -> bool:
        return self.case.must_pass and not self.passed

    @property
    def is_false_positive(self) -> bool:
        return self.case.must_fail and self.passed

    @property
    def is_misnamed(self) -> bool:
        """Rightly refused, but for another reason than the suite's."""
        right = not (self.is_false_negative or self.is_false_positive)
        return right and self.verdict.outcome not in self.case.outcomes

    @property
    def is_lopsided(self) -> bool:
        """Accepted in one direction only."""
        return self.mirrored is not None and self.passed != (self.mirrored is Outcome.CORRECT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a verifier's verdicts on some cases add up to."""

    rows: int
    must_pass: int
    must_fail: int
    false_negatives: int
    false_positives: int
    abstained: int
    """Verdicts without a reward: timeout, error, unreadable reference, abstention."""
    broken: int
    """Of these, timeouts and errors."""
    lopsided: int
    seconds: tuple[float, ...]
    """Of each verdict, sorted."""

    @property
    def agreement(self) -> float:
        """Share of rows that are neither a false negative nor a false positive, in [0, 1]."""
        return 1 - (self.false_negatives + self.false_positives) / self.rows

    @property
    def false_negative_rate(self) -> float:
        """Of the rows that must pass, in [0, 1]; 0 where there is none."""
        return self.false_negatives / self.must_pass if self.must_pass else 0.0

    @property
    def false_positive_rate(self) -> float:
        """Of the rows that must fail, in [0, 1]; 0 where there is none."""
        return self.false_positives / self.must_fail if self.must_fail else 0.0

    def quantile(self, q: float) -> float:
        """Seconds below which a share ``q`` of the verdicts took."""
        return self.seconds[min(len(self.seconds) - 1, int(q * len(self.seconds)))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a suite may show at worst."""

    agreement: float
    false_negatives: float
    false_positives: float
    seconds: float

    def broken_by(self, score: Score) -> list[str]:
        """Each bound that does not hold, as a line."""
        at_most = (
            ("disagreement", 1 - score.agreement, 1 - self.agreement),
            ("false negatives", score.false_negative_rate, self.false_negatives),
            ("false positives", score.false_positive_rate, self.false_positives),
            ("slowest verdict (s)", score.seconds[-1], self.seconds),
            ("timeouts and errors", score.broken, 0),
        )
        return [
            f"{name}: {value:.4g}, at most {bound:.4g}"
            for name, value, bound in at_most
            if value > bound
        ]


def score(graded: Sequence[Graded]) -> Score:
    """Raises:
    ValueError: there is nothing to count.
    """
    if not graded:
        raise ValueError("a score needs at least one graded case, got none")
    outcomes = [one.verdict.outcome for one in graded]
    return Score(
        rows=len(graded),
        must_pass=sum(one.case.must_pass for one in graded),
        must_fail=sum(one.case.must_fail for one in graded),
        false_negatives=sum(one.is_false_negative for one in graded),
        false_positives=sum(one.is_false_positive for one in graded),
        abstained=sum(not outcome.is_graded for outcome in outcomes),
        broken=sum(outcome in (Outcome.TIMEOUT, Outcome.ERROR) for outcome in outcomes),
        lopsided=sum(one.is_lopsided for one in graded),
        seconds=tuple(sorted(one.seconds for one in graded)),
    )
