"""What a rank says about one optimizer update; each number with the way in which it adds up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateReport:
    """Exact over ranks and micro-batches: every rank makes the same one."""

    means: dict[str, tuple[float, float]]
    """As sum and count."""
    sums: dict[str, float]
    maxima: dict[str, float]
    latest: dict[str, float]


def merged(reports: Sequence[UpdateReport]) -> UpdateReport:
    """Of one update, what its parts say; no two say the same thing."""
    return UpdateReport(
        means={name: pair for report in reports for name, pair in report.means.items()},
        sums={name: value for report in reports for name, value in report.sums.items()},
        maxima={name: value for report in reports for name, value in report.maxima.items()},
        latest={name: value for report in reports for name, value in report.latest.items()},
    )


def combined(reports: Sequence[UpdateReport]) -> dict[str, float]:
    """Metrics of the updates of one step. A mean over nothing is left out."""
    metrics: dict[str, float] = {}
    for name in _names([report.means for report in reports]):
        pairs = [report.means[name] for report in reports if name in report.means]
        count = sum(count for _, count in pairs)
        if count:
            metrics[name] = sum(total for total, _ in pairs) / count
    for name in _names([report.sums for report in reports]):
        metrics[name] = sum(report.sums.get(name, 0.0) for report in reports)
    for name in _names([report.maxima for report in reports]):
        metrics[name] = max(r.maxima[name] for r in reports if name in r.maxima)
    for report in reports:
        metrics |= report.latest
    return metrics


def _names(parts: Sequence[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(name for part in parts for name in part))
