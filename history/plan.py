"""The plan of a run as data: what a scenario file may say, and what `run.yaml` holds.

Strict: an unknown key or a wrong type is an error. Workload parameters and fault parameters stay
plain here; the rooms that own them (`loadtests`, `chaos`) check them by kind.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator, model_validator

from history.arrivals import Arrivals, Closed
from history.expected_bug import ExpectedBug
from history.phase_bounds import PhaseBounds
from history.protocol import schedule
from history.protocol.schedule import State, Value
from history.records import CANARY, CROWD
from history.strict import Name, RuleName
from history.strict import Strict as Strict

Param = Value
ClientKind = Literal["openai", "lean"]
"""The client under the load: the reference, or the one that takes several times less of a processor."""


class ServerSettings(Strict):
    """How the server under test is started."""

    gpu_blocks: int = Field(gt=1, le=1_000_000)
    """KV blocks on the device; few blocks force preemption and offload traffic."""
    block_size: int = Field(default=32, gt=0, le=1024)
    """Tokens in a block."""
    max_model_len: int = Field(default=768, gt=0)
    """Longest prompt plus answer, tokens."""
    max_batched_tokens: int = Field(default=96, gt=0)
    """Tokens of one engine step; smaller than a prompt means prefill in chunks."""
    offload: bool = True
    cpu_tier_mb: int = Field(default=200, gt=0)
    """Size of the offload tier, MiB."""
    load_failure_policy: Literal["recompute", "fail"] = "recompute"
    reserve_full_prompt: bool = True
    """Admit a request only when its whole prompt fits (0.19 on); off allows preemption in mid-prefill."""
    chaos: bool = True
    """Load the chaos module into the server. Without it no fault can be armed."""
    audit: bool = False
    """Compare the content of every block copied, before and after. Needs `chaos`; costs a little time."""
    sync_loads: bool = False
    """Load blocks within the step that needs them, where that can be, and not between steps. Needs chaos."""
    extra_args: tuple[str, ...] = ()


class WorkloadSpec(Strict):
    """What is asked: a kind of workload and its parameters (checked by `loadtests`)."""

    kind: Name
    params: dict[str, Param] = Field(default_factory=dict)


Invocation = Annotated[int, Field(ge=0, lt=2**63)]
"""Number of an arrival at a site. Larger ones could not be read back from a journal."""


class Trigger(Strict):
    """When a fault strikes: by the count of arrivals at its site, or by block; exactly one way."""

    probability: float | None = Field(default=None, gt=0.0, le=1.0)
    """Share of arrivals, chosen by hash."""
    nth: tuple[Invocation, ...] | None = None
    """These arrivals, counted from 0."""
    every: int | None = Field(default=None, ge=1, lt=2**63)
    """Every so many arrivals, the first at `offset`."""
    key_share: float | None = Field(default=None, gt=0.0, le=1.0)
    """Share of block keys, chosen by hash: a chosen key is struck at every arrival."""
    offset: Invocation = 0
    limit: int | None = Field(default=None, ge=1, lt=2**63)
    """The fault ends after so many firings."""
    states: tuple[State, ...] | None = Field(default=None, min_length=1)
    """Count, and strike, only what concerns a request in one of these states."""

    @model_validator(mode="after")
    def _one_selection(self) -> Trigger:
        selections = (self.probability, self.nth, self.every, self.key_share)
        if sum(selection is not None for selection in selections) != 1:
            raise ValueError("give exactly one of probability, nth, every, key_share")
        if self.offset and self.every is None:
            raise ValueError("offset goes with every")
        if self.states is not None and len(set(self.states)) != len(self.states):
            raise ValueError("a state stands twice in states")
        return self

    def as_armed(self) -> schedule.Trigger:
        """As it stands in the schedule of a server."""
        return schedule.Trigger(**self.model_dump())


class FaultSpec(Strict):
    """One fault of a scenario: what is done, when, how (parameters are checked by `chaos`)."""

    id: Name
    kind: Name
    trigger: Trigger
    params: dict[str, Param] = Field(default_factory=dict)
    phase: Name | None = None
    """The one phase in which it lives; to be given when several phases have the role chaos."""


Role = Literal["golden", "load", "chaos", "healed"]


class PhaseSpec(Strict):
    """One stretch of load. It ends on a count of requests, never on a clock."""

    name: Name
    role: Role
    """golden: answers others are compared with; load: no fault; chaos: faults armed; healed: faults gone."""
    workload: Name
    requests: int = Field(gt=0, le=1_000_000)
    concurrency: int = Field(gt=0, le=10_000)
    """The most in flight at once."""
    arrivals: Arrivals = Closed()
    """When requests are due. One that finds `concurrency` in flight waits, and its record says so."""
    first: int = Field(default=0, ge=0)
    """Index of the first request taken from the workload's endless list."""


RENAMED = {"ledger": "transfer-invariants", "witnesses": "metrics-crosscheck"}
"""Names of oracles in earlier versions, and now."""


class Expectation(Strict):
    """What a server release is expected to do. Strict in both directions."""

    releases: str
    """A version range such as ">=0.16,<0.19"; the first matching entry counts."""
    fail: tuple[RuleName, ...] = ()
    """Rules that must be broken, such as `counters/decreased`. Other rules of the same oracle must not be,
    unless they follow from another finding. The name of an oracle stands for any of its rules."""
    collateral: tuple[RuleName, ...] = ()
    """Rules that may be broken here, too: by chance, or on some of the releases. The name of an oracle stands
    for all that it finds, and for what it cannot judge."""
    issue: str | None = None
    """The upstream issue behind them."""
    bugs: tuple[ExpectedBug, ...] = ()
    """The known bugs behind them. None where a scenario file says what to expect, and in runs of earlier
    versions."""

    @field_validator("fail", "collateral", mode="before")
    @classmethod
    def _current_names(cls, names: object) -> object:
        """Runs of earlier versions name two oracles otherwise."""
        if not isinstance(names, list | tuple):
            return names
        return tuple(RENAMED.get(name, name) if isinstance(name, str) else name for name in names)

    @model_validator(mode="after")
    def _has_reason(self) -> Expectation:
        if self.fail and self.issue is None:
            raise ValueError("an expected failure names its issue")
        if self.collateral and self.issue is None:
            raise ValueError("collateral goes with fail, or names the issue by chance of which it fails")
        return self


EffectScope = Literal["struck", "readers", "life", "wait", "rest"]


class DeclaredEffect(Strict):
    """Findings that a fault of the plan brings. The fault explains these, and no others.

    Scopes:
    struck: on a request that a firing names.
    readers: on a request that read what was damaged, or what came of it, by the provenance log. Without one:
    on a request that a firing names, or one that shares the first block of its prompt, if it ended after the
    firing and was sent before the damage was gone.
    life: on the server, when one of its lives ends soon after a firing in it.
    wait: on a request that a firing names, or on the server while such a request is on its way.
    rest: on the server or a process of it, after a firing in its last life.
    """

    fault: Name
    """Its id."""
    rules: tuple[RuleName, ...] = Field(min_length=1)
    """Each of them can come of it."""
    scope: EffectScope
    least: int = Field(ge=0)
    """Findings that must come when the fault has fired; of scope `life` in each such life."""
    most: int | None = Field(default=None, ge=1)
    """Findings of a rule on one subject that are explained; None: all."""
    direction: Literal["load", "store"] | None = None
    """Only firings at copies of this direction bring it."""


class AllowedLine(Strict):
    """A line of the server's log that tells of a crash elsewhere and is no violation in this scenario."""

    pattern: str = Field(min_length=1)
    """Regular expression, looked for anywhere in the line."""
    why: str = Field(min_length=1)

    @field_validator("pattern")
    @classmethod
    def _says_which(cls, pattern: str) -> str:
        try:
            matches_all = re.search(pattern, "") is not None
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from error
        if matches_all:
            raise ValueError("a pattern that matches nothing at all allows every line")
        return pattern


class ClientBounds(Strict):
    """Beyond these the load process was too slow itself, and a run is unknown. For each phase.

    A bound that is not given is half of `stall_s`: what else the run judges by the clock could not be
    believed beyond it. To measure latency, give far less.
    """

    lag_ms: float | None = Field(default=None, gt=0)
    """Delay of a worker's event loop, 99th percentile."""
    late_median_ms: float | None = Field(default=None, gt=0)
    """Start of a request after it was due, of those that `concurrency` did not hold."""
    late_ms: float | None = Field(default=None, gt=0)
    """The same, 99th percentile."""
    cpu: float = Field(default=0.95, gt=0)
    """Share of one processor that a worker uses."""
    clock_ms: float = Field(default=50.0, gt=0)
    """How far the clock of a worker on another machine may be wrong."""


class Limits(Strict):
    """Deadlines and bounds of a run, seconds."""

    ready_s: float = Field(default=240.0, gt=0)
    request_s: float = Field(default=60.0, gt=0)
    """A request that takes longer is given up and recorded so."""
    stall_s: float = Field(default=15.0, gt=0)
    """No token for so long while requests wait is a stall."""
    recover_s: float = Field(default=60.0, gt=0)
    """From healing to the first answer to what is asked afterwards."""
    canary_s: float = Field(default=20.0, gt=0)
    drain_s: float = Field(default=20.0, gt=0)
    client: ClientBounds = ClientBounds()


class Requirement(Strict):
    """What must have happened in a phase for the run to prove anything: with less the run is unknown."""

    phase: Name
    preemptions: int | None = Field(default=None, ge=1)
    """Requests that the server preempted, at least so many."""
    tier_hits: int | None = Field(default=None, ge=1)
    """Tokens that the server found in the offload tier, at least so many."""

    @model_validator(mode="after")
    def _requires_something(self) -> Requirement:
        if self.preemptions is None and self.tier_hits is None:
            raise ValueError("give preemptions, tier_hits, or both")
        return self


StackName = Literal["local", "compose-cpu", "compose-gpu", "attach"]
"""Where the server comes from: processes of this machine, containers, or it is there already."""


class Scenario(Strict):
    """One experiment, as written in a file under `scenarios/`."""

    name: Name
    summary: str
    server: ServerSettings
    workloads: dict[Name, WorkloadSpec]
    phases: tuple[PhaseSpec, ...] = Field(min_length=1)
    faults: tuple[FaultSpec, ...] = ()
    fresh: str | None = Field(default=None, min_length=1)
    """Why no run may have used the server before; None: one that was proved clean will do."""
    swarm: bool = False
    """The seed chooses which of the faults live in a run, at least one."""
    stacks: tuple[StackName, ...] = Field(default=get_args(StackName), min_length=1)
    """Where it belongs to all scenarios. By its name it runs wherever its faults can be had."""
    expect: tuple[Expectation, ...] | None = None
    """What to expect of releases, instead of what their known bugs bring; empty: everything is to pass."""
    requires: tuple[Requirement, ...] = ()
    """What its purpose depends on."""
    limits: Limits = Limits()
    allowed_log_lines: tuple[AllowedLine, ...] = ()
    performance: dict[Name, PhaseBounds] = Field(default_factory=dict)
    """How fast the server must be, by phase."""

    @model_validator(mode="after")
    def _hangs_together(self) -> Scenario:
        names = [phase.name for phase in self.phases]
        if len(set(names)) != len(names):
            raise ValueError("two phases have the same name")
        if own := {CANARY, CROWD}.intersection(names):
            raise ValueError(f"phase {min(own)}: the suite's own requests go by that name")
        for phase in self.phases:
            if phase.workload not in self.workloads:
                raise ValueError(f"phase {phase.name}: no workload named {phase.workload}")
        ids = [fault.id for fault in self.faults]
        if len(set(ids)) != len(ids):
            raise ValueError("two faults have the same id")
        if self.faults and not self.chaos_phases():
            raise ValueError("faults need a phase with the role chaos")
        for fault in self.faults:
            self.phase_of(fault)
        if self.server.sync_loads and not (self.server.offload and self.server.chaos):
            raise ValueError("server.sync_loads needs offload and chaos on")
        if self.server.audit and not (self.server.offload and self.server.chaos):
            raise ValueError("server.audit needs a server with offload and chaos on")
        return self

    @model_validator(mode="after")
    def _requirements_can_be_met(self) -> Scenario:
        names = {phase.name for phase in self.phases}
        for requirement in self.requires:
            if requirement.phase not in names:
                raise ValueError(f"requires: no phase named {requirement.phase}")
            if requirement.tier_hits is not None and not self.server.offload:
                raise ValueError("requires: tier_hits needs a server with offload on")
        return self

    @model_validator(mode="after")
    def _bounds_can_be_judged(self) -> Scenario:
        client = self.limits.client
        if self.performance and (client.lag_ms is None or client.late_ms is None):
            raise ValueError("performance needs limits.client.lag_ms and late_ms, well below its bounds")
        for name, bounds in self.performance.items():
            for problem in self._bounds_problems(name, bounds):
                raise ValueError(f"performance.{name}: {problem}")
        return self

    def _bounds_problems(self, name: str, bounds: PhaseBounds) -> Iterator[str]:
        earlier: dict[str, PhaseSpec] = {}
        for phase in self.phases:
            if phase.name == name:
                break
            earlier[phase.name] = phase
        else:
            yield "no such phase"
            return
        if bounds.like is not None and bounds.like not in earlier:
            yield f"no phase named {bounds.like} comes before it"
        elif bounds.like is not None and not _same_load(phase, earlier[bounds.like]):
            yield f"{bounds.like} differs in workload, requests, concurrency or arrivals"
        if bounds.recover_s is not None and phase.role != "healed":
            yield "recover_s is for phases with the role healed"

    def chaos_phases(self) -> list[str]:
        return [phase.name for phase in self.phases if phase.role == "chaos"]

    def phase_of(self, fault: FaultSpec) -> str:
        """The phase in which a fault lives. Raises ValueError when that is not clear."""
        phases = self.chaos_phases()
        if fault.phase is None and len(phases) == 1:
            return phases[0]
        if fault.phase is None:
            raise ValueError(f"fault {fault.id}: say in which phase it lives: {', '.join(phases)}")
        if fault.phase not in phases:
            raise ValueError(f"fault {fault.id}: {fault.phase} is no phase with the role chaos")
        return fault.phase

    def faults_in(self, phase: str) -> tuple[FaultSpec, ...]:
        return tuple(fault for fault in self.faults if self.phase_of(fault) == phase)


def _same_load(one: PhaseSpec, other: PhaseSpec) -> bool:
    return all(
        getattr(one, name) == getattr(other, name)
        for name in ("workload", "requests", "concurrency", "arrivals")
    )


class Versions(Strict):
    """Everything that answers "what exactly ran?"."""

    kvchaos: str
    vllm: str
    torch: str
    python: str
    server_name: str
    """The name under which the server's environment is registered."""
    model: str
    """SHA-256 of the model's files."""
    git: str
    """Commit of this software with "+changes" when the tree was not clean; "unknown" outside a checkout."""
    host: str
    """Kernel, machine type, processors, memory."""


class PrometheusPlan(Strict):
    """The Prometheus that watches a run beside the suite."""

    version: str
    url: str
    suite_port: int = Field(gt=0, lt=65536)
    """Where the suite serves its own metrics, on 127.0.0.1."""
    command: tuple[str, ...] = ()
    """How it is started; empty where it is a part of the stack."""


class RunPlan(Strict):
    """The resolved plan of one run, as stored in `run.yaml`: the only truth from there on."""

    schema_version: Literal[1] = 1
    run_id: Name
    seed: int = Field(ge=0, lt=2**63)
    stack: StackName
    scenario: Scenario
    expectation: Expectation
    """What this release is expected to do in the scenario (everything passes where it is empty)."""
    effects: tuple[DeclaredEffect, ...] = ()
    """What the faults bring on this release. None in runs of earlier versions, whose expectation says it."""
    workers: int = Field(default=1, ge=1, le=64)
    """Load generator processes."""
    join: str | None = None
    """HOST:PORT at which they join from elsewhere; None: they are processes of the conductor's machine."""
    client: ClientKind = "openai"
    """What they send the load with; like their number it changes nothing of what is asked."""
    logprob_tolerance: float = Field(default=0.0, ge=0.0)
    """Equal answers of this server's build may differ by so much in a logprob; 0: equal bit for bit."""
    as_release: str | None = None
    """The release that the run is judged by, where it was given; None: the version of vLLM says it."""
    base_url: str
    load_url: str | None = None
    """What the load asks where that is not the server itself but what lies before it."""
    model_name: str = "tiny"
    """Under which the server serves its model."""
    command: tuple[str, ...]
    environment: dict[str, str]
    """What was added to the server's environment."""
    versions: Versions
    prometheus: PrometheusPlan | None = None
    """None: the suite's own scrapes are the only witness."""
    preceded_by: tuple[Name, ...] = ()
    """Earlier runs of the same server, in order: what it counted in them is not of this run."""
    fresh_because: str | None = None
    """Why a campaign started a server for this run; None: it did not, or the run was the only one."""
    repeats: Name | None = None
    """The run that this one repeats on a fresh server."""
    notes_evidence: bool = False
    """Whether the run ends with an event that says how many lines its files have; older runs do not."""
    sealed: bool = False
    """Whether the run seals its files when all are closed; older runs do not."""
    kv_token_bytes: int | None = Field(default=None, gt=0)
    """KV cache bytes that one token takes; None when that is not known."""
    created: str
    """UTC, ISO 8601."""
