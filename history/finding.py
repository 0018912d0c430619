"""What a judge reports: the rule that was broken, what broke it, and the figures that show it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import msgspec

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
    """In which it was found; None where it is about the whole run or bound to no phase."""
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
    return Subject("request", request_id)


def metric(key: str) -> Subject:
    """Of a metric, or of one series of it."""
    return Subject("metric", key)


def log_line(number: int) -> Subject:
    """Of server.log, from 1."""
    return Subject("log line", str(number))


def phase(name: str) -> Subject:
    return Subject("phase", name)


def fault(fault_id: str | None) -> Subject:
    return Subject("fault", fault_id or "")


def block(key: str) -> Subject:
    """A key of vLLM, or a number of a block in the memory of a worker."""
    return Subject("block", key)


def process(role: str, pid: int) -> Subject:
    return Subject("process", f"{role} {pid}")


def finite(figures: Mapping[str, int | float]) -> Figures:
    """Those that JSON has a number for."""
    return {name: value for name, value in figures.items() if math.isfinite(value)}
