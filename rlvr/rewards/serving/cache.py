"""Remembers verdicts, so that what many texts give is judged once."""

from __future__ import annotations

import hashlib
import pickle
from collections import OrderedDict
from dataclasses import dataclass

from rlvr.types import Problem, Verdict


@dataclass(frozen=True, slots=True)
class Key:
    """What a verdict rests on. The verifier and its version are the process's own."""

    verifier: str
    gold: str
    columns: bytes
    """Digest of what else of the problem a reward may read: two of one answer may differ in it."""
    extracted: str


class VerdictCache:
    """The latest verdicts of one grading process; the least used goes first."""

    def __init__(self, entries: int) -> None:
        """``entries`` bounds how many are kept; 0 keeps none."""
        self.entries = entries
        self._verdicts: OrderedDict[Key, Verdict] = OrderedDict()

    def __len__(self) -> int:
        return len(self._verdicts)

    def get(self, key: Key) -> Verdict | None:
        """The verdict of an equal key; None where there was none lately."""
        found = self._verdicts.get(key)
        if found is not None:
            self._verdicts.move_to_end(key)
        return found

    def put(self, key: Key, verdict: Verdict) -> None:
        """Keep a verdict about the model; a grader's failure is tried again."""
        if not self.entries or not verdict.outcome.is_graded:
            return
        self._verdicts[key] = verdict
        self._verdicts.move_to_end(key)
        if len(self._verdicts) > self.entries:
            self._verdicts.popitem(last=False)


def columns_of(problem: Problem) -> bytes:
    """Digest of a problem's prompt, source and extra columns; equal rows have equal ones."""
    parts = (problem.prompt, problem.source, sorted(problem.extra.items()))
    return hashlib.blake2b(pickle.dumps(parts), digest_size=16).digest()
