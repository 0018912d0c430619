"""Makes mutants of a kind, lets the software read each, and counts the outcomes.

A failure is a traceback, a message of more than one line, an outcome that the kind forbids, or a mutant that
takes too long. It is kept with its mutant; seed and number make it again.
"""

from __future__ import annotations

import shutil
import time
import traceback
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from tests.fuzz.kind import REFUSED, Kind

LONGEST_MESSAGE = 3000
"""Characters. A message names the file and what is wrong; it does not repeat the file."""
SLOW_S = 10.0
"""Processor time of one mutant; most take some ms."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A mutant that was not read as it should be."""

    kind: str
    seed: int
    number: int
    what: str

    def __str__(self) -> str:
        again = f"python -m tests.fuzz --kind {self.kind} --seed {self.seed} --only {self.number}"
        return f"{self.kind} seed {self.seed} mutant {self.number}: {self.what}\n  again: {again}"


@dataclass(slots=True)
class Report:
    """What came of the mutants of a kind."""

    kind: str
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)

    def line(self) -> str:
        counts = ", ".join(f"{count:,} {outcome}" for outcome, count in self.outcomes.most_common())
        return (
            f"{self.kind}: {sum(self.outcomes.values()):,} mutants: {counts}; {len(self.failures)} failures"
        )


def run(kind: Kind, seed: int, numbers: Iterable[int], keep: Path | None = None) -> Report:
    """Make and read the mutants with these numbers. `keep` is the folder for those that fail."""
    report = Report(kind.name)
    with TemporaryDirectory(prefix="kvchaos-fuzz-") as temp:
        folder = Path(temp) / "mutant"
        for number in numbers:
            folder.mkdir()
            outcome, problem = _one(kind, Random(f"{kind.name}/{seed}/{number}"), folder)
            report.outcomes[outcome] += 1
            if problem is not None:
                report.failures.append(Failure(kind.name, seed, number, problem))
                if keep is not None:
                    kept = keep / f"{kind.name}-{seed}-{number}"
                    shutil.rmtree(kept, ignore_errors=True)
                    shutil.copytree(folder, kept, symlinks=True)
            shutil.rmtree(folder)
    return report


def _one(kind: Kind, chance: Random, folder: Path) -> tuple[str, str | None]:
    """The outcome of a mutant, and what is wrong with it if anything is."""
    kind.make(chance, folder)
    began = time.process_time()
    try:
        outcome, problem = _read(kind, folder)
    except Exception:  # noqa: BLE001 - any exception that reaches this point is what the campaign looks for
        return "traceback", traceback.format_exc()
    took = time.process_time() - began
    if problem is None and took > SLOW_S:
        return "slow", f"{outcome} after {took:.1f} s of processor time"
    return outcome, problem


def _read(kind: Kind, folder: Path) -> tuple[str, str | None]:
    try:
        outcome = kind.read(folder)
    except kind.refusals as error:
        return REFUSED, _message_problem(str(error))
    reason = kind.forbidden.get(outcome)
    return outcome, None if reason is None else f"{outcome}: {reason}"


def _message_problem(message: str) -> str | None:
    lines = len(message.splitlines())
    if lines != 1:
        return f"a message of {lines} lines: {message!r}"
    if len(message) > LONGEST_MESSAGE:
        return f"a message of {len(message)} characters: {message[:200]!r}..."
    return None
