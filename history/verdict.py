"""What judging says: findings and gaps, one result an oracle, one outcome a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

import msgspec

from history.seals import Sealed

SubjectKind = Literal["server", "process", "request", "metric", "log line", "phase", "fault", "block"]


class Subject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a finding is about."""

    kind: SubjectKind
    name: str = ""
    """Request or fault id, name of a phase, key of a series or block, number of a line of server.log from 1,
    role and id of a process. Empty for the server."""


Figures = dict[str, int | float]
"""Numbers by short names of ours, in the units that these names tell."""


class Finding(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The smallest piece of the history that shows a violation."""

    rule: str
    """Its id, such as `counters/decreased`; see `kvchaos oracles --rules`."""
    subject: Subject
    text: str
    """One sentence with the figures in it, for people. Programs read the other fields."""
    phase: str | None = None
    """The phase in which it was found; None if it is about the whole run or belongs to no phase."""
    figures: Figures = {}
    """The numbers in the text, by name."""
    samples: list[tuple[int, float]] = []
    """(wall clock ns, value), usually two."""
    t_ns: int | None = None
    example: str | None = None
    """The id of a request that shows it, where the subject is another."""
    explained_by: str | None = None
    """The id of the fault whose declared effect it is."""
    follows: str | None = None
    """The rule that was broken, of which this follows."""

    @property
    def request(self) -> str | None:
        """The id of the request that it is about, or that shows it."""
        return self.subject.name if self.subject.kind == "request" else self.example

    @property
    def is_accounted(self) -> bool:
        """Whether it comes of a fault or of another finding."""
        return self.explained_by is not None or self.follows is not None

    @property
    def metric(self) -> str | None:
        """Name of the metric that the finding is about; None for another subject."""
        return self.subject.name if self.subject.kind == "metric" else None

    @property
    def log_line(self) -> int | None:
        """Line number in server.log, from 1."""
        return int(self.subject.name) if self.subject.kind == "log line" else None


class Gap(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Why an oracle could not judge something."""

    kind: str
    """ORACLE/NAME, such as `client/lag`."""
    subject: Subject
    text: str
    """One sentence, for people."""
    figures: Figures = {}


SERVER = Subject("server")


def request(request_id: str) -> Subject:
    """A request as the subject of a finding, by its id."""
    return Subject("request", request_id)


def metric(key: str) -> Subject:
    """A metric, or one series of it, as the subject of a finding."""
    return Subject("metric", key)


def log_line(number: int) -> Subject:
    """A line of server.log as the subject of a finding, counted from 1."""
    return Subject("log line", str(number))


def phase(name: str) -> Subject:
    """A phase as the subject of a finding, by its name."""
    return Subject("phase", name)


def fault(fault_id: str | None) -> Subject:
    """A fault of the plan as the subject of a finding, by its id; empty where no fault is named."""
    return Subject("fault", fault_id or "")


def block(key: str) -> Subject:
    """A key of vLLM, or a number of a block in the memory of a worker."""
    return Subject("block", key)


def process(role: str, pid: int) -> Subject:
    """A process of the server as the subject of a finding, by role and process id."""
    return Subject("process", f"{role} {pid}")


def finite(figures: Mapping[str, int | float]) -> Figures:
    """The figures that JSON has a number for."""
    return {name: value for name, value in figures.items() if math.isfinite(value)}


class Verdict(StrEnum):
    """fail > unknown > pass. No data, no metric, an oracle that crashed: unknown, never pass."""

    PASS = "pass"
    UNKNOWN = "unknown"
    FAIL = "fail"


class OracleResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One oracle's word on one run."""

    oracle: str
    verdict: Verdict
    summary: str
    """One line: what was checked and how much of it, or what is wrong."""
    findings: list[Finding] = []
    """The first few of each rule, those first that come of no fault and no other finding;
    `violations` counts all."""
    violations: int = 0
    by_rule: dict[str, int] = {}
    """Violations of each rule that was broken, by its id."""
    checked: int = 0
    """How many things were looked at; 0 never passes."""
    explained: dict[str, int] = {}
    """Violations, by rule, that are the declared effect of a fault and follow from no other finding."""
    missing: list[str] = []
    """Rules that a fault was declared to break, and that hold although it fired."""
    figures: Figures = {}
    """The numbers in the summary of a pass, by name."""
    gaps: list[Gap] = []
    """What could not be judged, whatever the verdict."""


class Cause(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A broken rule that follows from no other finding of the run."""

    rule: str
    signature: str
    """The same for the same bug, across seeds and machines. See docs/verdicts.md."""
    violations: int
    follow: dict[str, int] = {}
    """Rules that were broken because of it, and how often."""
    inconclusive: list[str] = []
    """Oracles that could not judge because of it."""
    explained_by: list[str] = []
    """Ids of the faults that explain all of its violations; empty where any is left."""
    known_bugs: list[str] = []
    """Ids of the known bugs that it may be."""
    unexplained: bool = False
    """No fault, no known bug and no expectation explains it."""


class FaultEffect(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a fault that fired was declared to bring, and what came of it."""

    fault: str
    """Its id."""
    kind: str
    rules: list[str]
    """Each of them could come of it."""
    least: int
    """Findings that had to come."""
    explains: dict[str, int] = {}
    """Violations that it explains, by rule."""
    judged: bool = True
    """False where an oracle that would have to see it could not judge, or was not asked to."""

    @property
    def missing(self) -> bool:
        """Whether the fault brought fewer findings than it must, where this could be judged."""
        return self.judged and sum(self.explains.values()) < self.least


class BugResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A known bug of the release that could show in the run, and what came of it."""

    id: str
    reference: str
    """How people name it, such as `vllm#36533`."""
    title: str
    mechanism: str
    link: str | None = None
    explains: dict[str, int] = {}
    """Violations of its rules; empty: it did not show."""
    missing: list[str] = []
    """Rules that it always breaks, and that hold."""


Outcome = Literal["as expected", "not as expected", "unknown"]


class RunVerdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The content of verdict.json."""

    v: Literal[2] = 2
    run_id: str
    scenario: str
    server: str
    seed: int
    outcome: Outcome
    reasons: list[str]
    """Why the outcome is what it is, one line each; for "as expected" the expected failures that came."""
    expected_failures: list[str]
    issue: str | None
    results: list[OracleResult]
    cut: Gap | None = None
    """Why the run as a whole cannot be judged: it was cut short, or its load generator was too
    slow. None when it can be judged."""
    causes: list[Cause] = []
    """The causes of the violations."""
    effects: list[FaultEffect] = []
    """The declared effects of the faults that fired."""
    bugs: list[BugResult] = []
    """The known bugs of the release that could show. None in runs of earlier versions."""
    seal: Sealed = "unsealed"
    """Whether the files are those that the run sealed at its end."""
