"""The records of stability nights: each run while a night lasts, then one line a night and a signature.

The log of runs lies with the runs; it is what an interrupted night goes on from. The history keeps counts.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from history.verdict import Outcome
from kvchaos.triage.failure_repeats import RepeatResult, Variant
from kvchaos.triage.failure_signature import Infrastructure

NightDate = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$")]
"""Start of the night, UTC."""
Count = Annotated[int, Meta(ge=0)]
Category = Literal["positive control", "new", "failed before", "known bug", "repeat"]
"""Why a run was made."""
ControlResult = Literal["found", "missed", "absent"]
"""found: the planted violation was found. missed: it was not. absent: no positive control was judged."""


class StabilityLine(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """A line of a file of the stability history."""


class RunSignature(StabilityLine, frozen=True, kw_only=True):
    """One cause of a run's violations."""

    signature: str
    """As in `verdict.json`, such as "server-alive/died: KeyError in vllm.v1.core...."."""
    unexplained: bool = False
    bugs: list[str] = []
    """Ids of the known bugs that it may be."""


class RepeatedFailure(StabilityLine, frozen=True, kw_only=True):
    """Why a run repeats another."""

    number: Count
    """Of the run that failed."""
    variant: Variant
    signature: str
    """The signature that is looked for."""


class ServerUsage(StabilityLine, frozen=True, kw_only=True):
    """A server at the end of a run, and the latencies of the run."""

    life: str
    """Process id and start of the server's leader."""
    t_s: int
    """Wall clock since the epoch."""
    memory_bytes: Count
    """Heaps, stacks and tensors of all its processes."""
    files: Count
    sockets: Count
    threads: Count
    ttft_ms: float | None = None
    """Median of the phases without faults."""
    itl_ms: float | None = None


class UsageSlope(StabilityLine, frozen=True, kw_only=True):
    """How a figure changed over the runs of a scenario on one server."""

    life: str
    scenario: str
    figure: str
    unit: str
    runs: Count
    hours: float
    first: float
    per_hour: float
    low: float
    """95 % interval, as `high`."""
    high: float
    grows: bool
    """Even the low end adds up to more than what a server may use more of."""


class CampaignRun(StabilityLine, frozen=True, kw_only=True, tag_field="line", tag="run"):
    """A judged run of a night."""

    v: Literal[1] = 1
    number: Count
    """From 0; it decides category, scenario and seed."""
    category: Category
    scenario: str
    seed: Count
    outcome: Outcome
    run: str
    """Its directory, next to the log."""
    seconds: float
    signatures: list[RunSignature] = []
    infrastructure: Infrastructure | None = None
    """Why the run says nothing about the server."""
    reason: str = ""
    control: ControlResult | None = None
    """Of a positive control."""
    usage: ServerUsage | None = None
    """Of a night on one server."""
    repeat: RepeatedFailure | None = None
    """Of a repeat."""


class SignatureCount(StabilityLine, frozen=True, kw_only=True):
    """One signature on one night and build."""

    v: Literal[1] = 1
    night: NightDate
    build: str
    """Version of vLLM."""
    signature: str
    count: Annotated[int, Meta(ge=1)]
    """Runs that have it."""
    unexplained: bool = False
    bugs: list[str] = []
    examples: list[tuple[str, Count, str]]
    """Scenario, seed and run directory of the first few."""
    repeats: RepeatResult | None = None
    """What the repeats of the first run say; None: it was not repeated."""
    server: str = ""
    """Name of the server environment; empty where the version names it, and in lines of earlier versions."""

    @property
    def server_name(self) -> str:
        """The name to give to `--server`."""
        return self.server or self.build


class StabilityNight(StabilityLine, frozen=True, kw_only=True):
    """The counts of one night."""

    v: Literal[1] = 1
    night: NightDate
    build: str
    runs: Count
    outcomes: dict[Outcome, Count]
    categories: dict[Category, Count]
    infrastructure: dict[str, Count] = {}
    """Runs that say nothing about the server, by category."""
    unknown: dict[str, Count] = {}
    """Other runs with the outcome unknown, by their reason."""
    positive_control: ControlResult
    seconds: float
    complete: bool
    """Whether the night used its whole budget."""
    folder: str = ""
    """Name of the folder of its runs; empty in nights of earlier versions."""
    slopes: list[UsageSlope] = []
    """Of a night on one server."""
    server: str = ""
    """Name of the server environment; empty where the version names it, and in nights of earlier versions."""

    @property
    def server_name(self) -> str:
        """The name to give to `--server`."""
        return self.server or self.build

    @property
    def is_green(self) -> bool:
        """Whether nothing was unexpected, nothing grows, and the positive control was found."""
        grows = any(slope.grows for slope in self.slopes)
        return self.positive_control == "found" and not self.outcomes.get("not as expected") and not grows
