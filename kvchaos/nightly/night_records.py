"""The records of the history: nights, points of series, and changes. Each is one JSON line; lines only add.

A night is identified by its start. A point is one series on one night. A change follows one step of some
series from the night that confirmed it to its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from kvchaos.nightly.decision import Decision

NightId = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$")]
"""Start of the night, UTC."""
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
NightKind = Literal["comparison", "control"]
"""control: the control against itself, which measures the noise."""
Stage = Literal["screen", "confirm"]
Role = Literal["watch", "context"]
ChangeEvent = Literal["opened", "confirmed", "accepted", "fixed"]
"""opened: a night found it. confirmed: a later night found it again. accepted: someone gave a reason why the
step stays. fixed: a night no longer shows it."""


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """A line of a file of the history."""


class ServerBuild(Line, frozen=True, kw_only=True):
    """A server that was measured."""

    name: str
    """Of its environment."""
    vllm: str
    commit: str | None = None
    """Of vLLM's repository, where the build says it."""
    torch: str | None = None
    python: str | None = None


class MachineIdentity(Line, frozen=True, kw_only=True):
    """The machine of a night."""

    host: str
    """Kernel, processors and memory."""
    processor: str
    gpus: list[str] = []
    """Name and memory of each."""
    driver: str | None = None


class PairRuns(Line, frozen=True, kw_only=True):
    """The two runs of one pair, relative to the folder of the night's runs."""

    stage: Stage
    seed: int
    control: str
    candidate: str


class MeasuredScenario(Line, frozen=True, kw_only=True):
    """What one measurement of the file gave."""

    scenario: str
    identity: Digest
    """Of all that must be equal for figures of two nights to belong to one series."""
    folder: str
    """Of its runs."""
    phase: str | None = None
    """That was measured; None: the one that `kvchaos bench compare` measures by default."""
    rates: Sequence[float] = ()
    """Arrivals a second; empty: the load of the phase."""
    seconds: float | None = None
    """Duration of the arrivals at each rate; None: the default."""
    pairs: list[PairRuns] = []
    """Pairs of which both runs count."""
    excluded: list[str] = []
    """Runs that do not count, each with its reason."""


class Night(Line, frozen=True, kw_only=True):
    """One night."""

    v: Literal[1] = 1
    night: NightId
    kind: NightKind
    candidate: ServerBuild
    control: ServerBuild
    machine: MachineIdentity
    model: str
    kvchaos: str
    """Version and commit."""
    client_us_per_request: float | None = None
    """Median processor time of the load client for a request."""
    ended: NightId
    budget_s: float
    screen_pairs: int = 6
    confirm_pairs: int = 18
    complete: bool
    """Whether all measurements of the file had their pairs within the budget."""
    measured: Sequence[MeasuredScenario] = []


class NightPoint(Line, frozen=True, kw_only=True):
    """One series on one night."""

    v: Literal[1] = 1
    night: NightId
    series: str
    """SCENARIO/LOAD/FIGURE; LOAD is a phase, or rate-N for N arrivals a second."""
    role: Role
    identity: Digest
    least_step: float | None = None
    """Logarithm; None for context."""
    accepted: float = 0.0
    """Slowdown that was accepted before this night."""
    screen: list[float]
    """Slowdown of each pair: log of candidate over control, positive where the candidate is slower."""
    confirm: list[float] = []
    control: float
    """Median figure of the control."""
    candidate: float
    unit: str
    decision: Decision | None = None
    """None for context."""


class ChangeLine(Line, frozen=True, kw_only=True):
    """An event of one change."""

    v: Literal[1] = 1
    change: Annotated[str, Meta(pattern="^[a-z0-9-]{1,64}$")]
    event: ChangeEvent
    night: NightId
    series: Sequence[str] = ()
    """opened: the series that the night confirmed."""
    slowdowns: Sequence[float] = ()
    """opened, confirmed, accepted: of each series."""
    reason: str = ""
    """accepted: why it stays, with its issue."""
    first_bad: str | None = None
    """The first build that shows it, where it was located."""
