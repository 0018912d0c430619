"""What a scenario file may say: server, workloads, phases, faults, limits, requirements.

Strict: an unknown key or a wrong type is an error. Parameters stay plain here: `loadtests` checks those of
workloads by kind, `chaos` those of faults.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from history.expected_findings import AllowedLine, Expectation
from history.phase_spec import PhaseBounds, PhaseSpec
from history.protocol import schedule
from history.protocol.schedule import State, Value
from history.records import CROWD, PROBE
from history.strict_model import Name, Strict

Param = Value

Invocation = Annotated[int, Field(ge=0, lt=2**63)]
"""Number of an arrival at a site. Larger ones could not be read back from a journal."""


class Trigger(Strict):
    """When a fault strikes: by the count of invocations at its site, or by block; exactly one of them."""

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
            raise ValueError("states has a state twice")
        return self

    def as_armed(self) -> schedule.Trigger:
        """The trigger as the schedule of a server has it."""
        return schedule.Trigger(**self.model_dump())


class FaultSpec(Strict):
    """One fault of a scenario: what is done, when, how (parameters are checked by `chaos`)."""

    id: Name
    kind: Name
    trigger: Trigger
    params: dict[str, Param] = Field(default_factory=dict)
    phase: Name | None = None
    """The one phase in which it lives; to be given when several phases have the role chaos."""


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
    cpu_offload_mib: int = Field(default=200, gt=0)
    """Size of the offload tier, MiB."""
    load_failure_policy: Literal["recompute", "fail"] = "recompute"
    reserve_full_prompt: bool = True
    """Admit a request only when its whole prompt fits (0.19 on); off allows preemption in mid-prefill."""
    chaos: bool = True
    """Load the chaos module into the server. Without it no fault can be armed."""
    audit: bool = False
    """Compare the content of every block copied, before and after. Needs `chaos`; costs a little time."""
    ledger: bool = True
    """Record every transfer in the server, for the rules on them. Only with `chaos`; faults need it."""
    prompt_blocks_only: bool = True
    """Offload the blocks of prompts alone, as vLLM does by default; off offloads generated tokens as well.
    Releases before 0.23 always offload both."""
    sync_loads: bool = False
    """Load blocks within the step that needs them, where that can be, and not between steps. Needs chaos."""
    extra_args: tuple[str, ...] = ()

    @property
    def keeps_ledger(self) -> bool:
        """Whether the server records every transfer."""
        return self.offload and self.chaos and self.ledger


class WorkloadSpec(Strict):
    """A kind of workload and its parameters, which `loadtests` checks."""

    kind: Name
    params: dict[str, Param] = Field(default_factory=dict)


class ClientBounds(Strict):
    """Beyond these the load process was too slow itself, and a run is unknown. For each phase.

    A bound that is not given is half of `stall_s`: what else the run judges by the clock could not be
    believed beyond it. To measure latency, give far less.
    """

    event_loop_lag_ms: float | None = Field(default=None, gt=0)
    """Delay of a worker's event loop, 99th percentile."""
    schedule_lag_median_ms: float | None = Field(default=None, gt=0)
    """Start of a request after it was due, of those that `concurrency` did not hold."""
    schedule_lag_ms: float | None = Field(default=None, gt=0)
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
    """Longest time from healing to the first answer to a request that is sent afterwards."""
    probe_s: float = Field(default=20.0, gt=0)
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
        if own := {PROBE, CROWD}.intersection(names):
            raise ValueError(f"phase {min(own)}: requests of kvchaos itself have this name")
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
        return self

    @model_validator(mode="after")
    def _server_can_do_it(self) -> Scenario:
        if self.server.sync_loads and not (self.server.offload and self.server.chaos):
            raise ValueError("server.sync_loads needs offload and chaos on")
        if self.server.audit and not (self.server.offload and self.server.chaos):
            raise ValueError("server.audit needs a server with offload and chaos on")
        if not self.server.ledger and (self.faults or self.server.audit):
            raise ValueError("server.ledger is off, but faults and audit mode need it")
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
        if self.performance and (client.event_loop_lag_ms is None or client.schedule_lag_ms is None):
            raise ValueError(
                "performance needs limits.client.event_loop_lag_ms and schedule_lag_ms, well below its bounds"
            )
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
        """Names of the phases in which faults may be armed."""
        return [phase.name for phase in self.phases if phase.role == "chaos"]

    def phase_of(self, fault: FaultSpec) -> str:
        """The phase in which a fault lives. Raises ValueError when that is not clear."""
        phases = self.chaos_phases()
        if fault.phase is None and len(phases) == 1:
            return phases[0]
        if fault.phase is None:
            raise ValueError(f"fault {fault.id}: give its phase, one of {', '.join(phases)}")
        if fault.phase not in phases:
            raise ValueError(f"fault {fault.id}: {fault.phase} is not a phase with the role chaos")
        return fault.phase

    def faults_in(self, phase: str) -> tuple[FaultSpec, ...]:
        """The faults that are armed in a phase, in the order of the file."""
        return tuple(fault for fault in self.faults if self.phase_of(fault) == phase)


def _same_load(one: PhaseSpec, other: PhaseSpec) -> bool:
    return all(
        getattr(one, name) == getattr(other, name)
        for name in ("workload", "requests", "concurrency", "arrivals")
    )
