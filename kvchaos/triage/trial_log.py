"""The runs of a triage as JSON lines: each is written as soon as it has ended, and none is repeated."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import msgspec

from history.jsonl import LineWriter
from kvchaos.errors import UsageError
from kvchaos.json_lines import cut_incomplete_line, read_json_lines
from kvchaos.triage.failure_signature import FailureSignature, Observation

FILE = "trials.jsonl"
NO_SCENARIO = msgspec.Raw(b"null")
START_AGAIN = "move the file away to start again"


class TriageStart(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="line", tag="start"
):
    """The first line: what is examined."""

    v: int = 1
    task: str
    """`shrink` or `bisect`."""
    run: str
    """The failing run."""
    failure: FailureSignature
    seed: int
    server: str
    scenario: str
    """Digest of the scenario at the start."""


class Trial(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="line", tag="trial"
):
    """One run."""

    key: str
    """Digest of the scenario, or name of the server: runs with the same key repeat each other."""
    step: str
    """What was tried with it."""
    observation: Observation
    seconds: float
    run: str | None = None
    """Name of its run directory, which may have been removed; None: the run did not begin."""
    reason: str | None = None
    """Why it says nothing about the server."""
    scenario: msgspec.Raw = NO_SCENARIO
    """As it was tried; in the first line of each key only."""


_DECODER: msgspec.json.Decoder[TriageStart | Trial] = msgspec.json.Decoder(TriageStart | Trial)


class TrialLog:
    """The lines of one file, and their writer."""

    def __init__(self, path: Path, start: TriageStart) -> None:
        """Read a file that is there, or begin one.

        Raises UsageError for a file of another triage, for one that is damaged, and when it cannot be
        written.
        """
        self._path = path
        self._trials: dict[str, list[Trial]] = defaultdict(list)
        try:
            began = self._read(start)
            self._writer = LineWriter(path)
            if not began:
                self._writer.write(start)
        except OSError as error:
            raise UsageError(f"{path}: cannot be used: {error.strerror}") from error
        self.resumed = sum(map(len, self._trials.values()))
        """Runs of earlier sessions."""

    def of(self, key: str) -> list[Trial]:
        """The runs with a key, in order."""
        return self._trials[key]

    @property
    def trials(self) -> list[Trial]:
        """All runs, by key."""
        return [trial for trials in self._trials.values() for trial in trials]

    def add(self, trial: Trial) -> None:
        """Write a run. Raises UsageError."""
        try:
            self._writer.write(trial)
        except OSError as error:
            raise UsageError(f"{self._path}: cannot be written: {error.strerror}") from error
        self._trials[trial.key].append(trial)

    def close(self) -> None:
        """Close the file."""
        self._writer.close()

    def _read(self, start: TriageStart) -> bool:
        """Whether the file has its first line; a last line that a kill has cut is removed."""
        cut_incomplete_line(self._path)
        lines = read_json_lines(self._path, _DECODER, advice=f"; {START_AGAIN}")
        for number, record in enumerate(lines, start=1):
            if isinstance(record, Trial) and number > 1:
                self._trials[record.key].append(record)
            elif record != start:
                raise UsageError(
                    f"{self._path}:{number}: the runs there are of another failure, scenario or server; "
                    f"{START_AGAIN}"
                )
        return bool(lines)
