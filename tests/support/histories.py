"""Small synthetic histories: a clean run of a pretended server, for tests to damage in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from history.metrics import MetricLog
from history.phase_spec import PhaseSpec
from history.plan import PrometheusPlan, RunPlan
from history.protocol.evidence import FIRINGS, Firing, LoadBlocksFailed
from history.reader import History
from history.records import (
    ClientRecord,
    Event,
    Evidence,
    FaultEvent,
    FaultRecord,
    LedgerRecord,
    ProvenanceRecord,
    RequestRecord,
    ResourceRecord,
    Scalar,
    ScrapeLine,
)
from tests.support.synthetic_records import (
    ALWAYS,
    ANSWER_TOKENS,
    CACHED,
    COMPUTED_SOURCE,
    DEVICE_TIER,
    EXTERNAL_HITS,
    EXTERNAL_QUERIES,
    EXTERNAL_SOURCE,
    EXTERNAL_TOKENS,
    GENERATED,
    HOST_TIER,
    KV_TOKEN_BYTES,
    LENGTH,
    LOAD_BYTES,
    LOAD_TIME,
    LOCAL_HITS,
    LOCAL_QUERIES,
    LOCAL_SOURCE,
    LOCAL_TOKENS,
    MS,
    NEW_OFFLOAD,
    OLD_LOAD_BYTES,
    OLD_LOAD_TIME,
    OLD_OFFLOAD,
    PROMPT,
    PROMPT_TOKENS,
    RUNNING,
    SECOND,
    START_NS,
    TTFT_ALL,
    TTFT_COUNT,
    TTFT_SMALL,
    TTFT_SUM,
    good_request,
    gpu_sample,
    healthy,
    make_plan,
    resource_record,
)

FIRST_INCARNATION = 1_800_000_000.0
FIRST_LEADER = 99
BookEvent = Literal["balance", "violation"]


@dataclass(slots=True)
class Scrape:
    """The samples of one scrape; tests change them before the history is built."""

    t_ns: int
    values: dict[str, float]
    incarnation: float | None = FIRST_INCARNATION
    failed: bool = False


@dataclass
class Run:
    """The parts of a history, open to change until `history()` is called."""

    plan: RunPlan
    now_ns: int = START_NS
    requests: list[RequestRecord] = field(default_factory=list)
    faults: list[FaultRecord] = field(default_factory=list)
    ledger: list[LedgerRecord] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    scrapes: list[Scrape] = field(default_factory=list)
    prometheus: list[Scrape] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    client: list[ClientRecord] = field(default_factory=list)
    resources: list[ResourceRecord] = field(default_factory=list)
    provenance: list[ProvenanceRecord] = field(default_factory=list)
    server: dict[str, float] = field(default_factory=dict)
    sent_prompts: set[str] = field(default_factory=set)
    incarnation: float = FIRST_INCARNATION
    leader: int = FIRST_LEADER

    def pass_time(self, ns: int) -> None:
        self.now_ns += ns

    def event(self, kind: str, **data: Scalar | list[int | str]) -> None:
        self.pass_time(MS)
        self.events.append(Event(t_ns=self.now_ns, mono_ns=self.now_ns, kind=kind, data=data))

    def scrape(self) -> None:
        self.pass_time(MS)
        self.scrapes.append(Scrape(self.now_ns, dict(self.server), self.incarnation))

    def serve(self, phase: str, prompt_id: str) -> RequestRecord:
        """One good request of 100 ms, counted by client and server alike, with a scrape in its middle."""
        record = good_request(f"{phase}-{len(self.requests)}", prompt_id, phase, self.now_ns)
        self.server[RUNNING] = 1.0
        self.pass_time(50 * MS)
        self._count(record)
        self.scrape()
        self.server[RUNNING] = 0.0
        self.pass_time(50 * MS)
        self.requests.append(record)
        return record

    def _count(self, record: RequestRecord) -> None:
        cached = record.prompt_id in self.sent_prompts
        self.sent_prompts.add(record.prompt_id)
        local = LOCAL_TOKENS if cached else 0
        external = EXTERNAL_TOKENS if cached else 0
        growth = {
            PROMPT: PROMPT_TOKENS,
            GENERATED: ANSWER_TOKENS,
            CACHED: local + external,
            COMPUTED_SOURCE: PROMPT_TOKENS - local - external,
            LOCAL_SOURCE: local,
            EXTERNAL_SOURCE: external,
            DEVICE_TIER: local,
            HOST_TIER: external,
            LENGTH: 1,
            LOCAL_HITS: local,
            LOCAL_QUERIES: PROMPT_TOKENS,
            EXTERNAL_HITS: external,
            EXTERNAL_QUERIES: PROMPT_TOKENS - local,
            TTFT_SMALL: 1,
            TTFT_ALL: 1,
            TTFT_COUNT: 1,
            TTFT_SUM: 0.02,
            LOAD_BYTES: external * KV_TOKEN_BYTES,
            LOAD_TIME: external / 1e6,
            OLD_LOAD_BYTES: external * KV_TOKEN_BYTES,
            OLD_LOAD_TIME: external / 1e6,
        }
        for key, amount in growth.items():
            if key in self.server:
                self.server[key] += amount

    def watch(self) -> None:
        """Let Prometheus have watched: shortly after each scrape of the suite it saw the same."""
        planned = PrometheusPlan(version="2.53.3", url="http://127.0.0.1:9090", suite_port=9091)
        self.plan = self.plan.model_copy(update={"prometheus": planned})
        self.prometheus = [
            Scrape(scrape.t_ns + 20 * MS, dict(scrape.values), scrape.incarnation) for scrape in self.scrapes
        ]

    def bump(self, key: str, by: float, since: int = 0) -> None:
        """Add to a series at every scrape from number `since` on."""
        for scrape in self.scrapes[since:]:
            scrape.values[key] = scrape.values.get(key, 0.0) + by

    def drop_metric(self, *keys: str) -> None:
        for scrape in self.scrapes:
            for key in keys:
                scrape.values.pop(key, None)

    def drop_events(self, kind: str) -> None:
        self.events = [event for event in self.events if event.kind != kind]

    def change_request(self, index: int, **changes: object) -> RequestRecord:
        """Replace fields of one request; returns the changed record."""
        self.requests[index] = msgspec.structs.replace(self.requests[index], **changes)
        return self.requests[index]

    def change_event(self, kind: str, **changes: Scalar | list[int | str]) -> None:
        """Change data of every event of a kind."""
        self.events = [
            msgspec.structs.replace(event, data={**event.data, **changes}) if event.kind == kind else event
            for event in self.events
        ]

    def first_of(self, phase: str) -> int:
        """Place of the first request of a phase."""
        return next(index for index, record in enumerate(self.requests) if record.phase == phase)

    def scrape_in(self, phase: str) -> int:
        """Number of the scrape taken just before a phase began."""
        start = next(
            event.t_ns
            for event in self.events
            if event.kind == "phase_start" and event.data["phase"] == phase
        )
        return sum(scrape.t_ns <= start for scrape in self.scrapes) - 1

    def fire(self, fault: str, kind: str, /, **evidence: Scalar | list[int | str]) -> None:
        """A firing in the middle of the armed stretch."""
        armed = next(event.t_ns for event in self.events if event.kind == "armed")
        self.fire_at(armed + 10 * MS, fault, kind, **evidence)

    def fire_at(self, t_ns: int, fault: str, kind: str, /, **evidence: Scalar | list[int | str]) -> None:
        n = sum(record.event == "fired" for record in self.faults)
        self.faults.append(_journal_line(t_ns, "fired", fault, kind, n, whole_proof(kind, evidence)))

    def audit_line(self, role: str, event: BookEvent, rule: str | None = None, /, **evidence: Scalar) -> None:
        """A line of the ledger; of a balance all that is not given is at rest."""
        whole: Evidence = dict(evidence)
        if event == "balance":
            for label in {"scheduler": ("stores", "loads"), "worker": ("copies",)}[role]:
                whole = {
                    f"{label}_begun": BEGUN[label],
                    f"{label}_open": 0,
                    f"{label}_since_ns": None,
                } | whole
            whole = {"audited": 8 if role == "worker" else 0, "violations": 0} | whole
        self.ledger.append(
            LedgerRecord(
                t_ns=self.now_ns,
                mono_ns=self.now_ns,
                role=role,
                pid=100,
                event=event,
                rule=rule,
                evidence=whole,
            )
        )

    def load_module(self) -> None:
        """The chaos module is loaded in the server."""
        self.faults.append(_journal_line(self.now_ns, "loaded", None, None, None, {"generation": "G8"}))

    def history(self, run_dir: Path = Path("runs/synthetic")) -> History:
        return History(
            run_dir=run_dir,
            plan=self.plan,
            requests=list(self.requests),
            faults=list(self.faults),
            ledger=list(self.ledger),
            events=list(self.events),
            metrics=MetricLog.from_lines(scrape_lines(self.scrapes)),
            prometheus=MetricLog.from_lines(scrape_lines(self.prometheus)),
            log=list(self.log),
            client=list(self.client),
            resources=list(self.resources),
            gpus=[gpu_sample(usage.t_ns) for usage in self.resources],
            provenance=list(self.provenance),
        )


BEGUN = {"stores": 4, "loads": 40, "copies": 4}
"""By the books, when a balance does not say; a load is of one block."""
SAMPLES: Evidence = {
    "key": "ab",
    "hit_blocks": 1,
    "answered_blocks": 0,
    "left": 1,
    "hook": "lookup",
    "direction": "load",
    "ms": 1.0,
    "of": 1,
    "jobs": [],
    "directions": [],
    "requests": [],
    "bytes_changed": 1,
}


def whole_proof(kind: str, given: Mapping[str, Scalar | list[int | str]]) -> Evidence:
    """The evidence of a firing: what is given, and a sample of what its kind must have besides."""
    firing = FIRINGS[kind]
    samples: Evidence = {**SAMPLES, "blocks": [1] if firing is LoadBlocksFailed else 1}
    needed = [field.name for field in msgspec.structs.fields(firing) if field.required]
    return {name: samples[name] for name in needed} | dict(given)


def sample_firing(kind: str) -> Firing:
    """What a site in the server may have written."""
    firing: Firing = msgspec.convert(whole_proof(kind, {}), FIRINGS[kind])
    return firing


def scrape_lines(scrapes: list[Scrape]) -> list[ScrapeLine]:
    """The scrapes as the file holds them: only what is new, changed or gone."""
    columns: dict[str, int] = {}
    before: dict[str, float] = {}
    lines: list[ScrapeLine] = []
    for scrape in scrapes:
        if scrape.failed:
            lines.append(_failed(scrape))
            continue
        new = [key for key in scrape.values if key not in columns]
        for key in new:
            columns[key] = len(columns)
        changed: dict[int, float | str] = {}
        for key, value in scrape.values.items():
            if before.get(key) != value:
                changed[columns[key]] = "NaN" if value != value else value
        lines.append(
            ScrapeLine(
                t_ns=scrape.t_ns,
                mono_ns=scrape.t_ns,
                took_us=900,
                incarnation=scrape.incarnation,
                new=new,
                changed=changed,
                gone=[columns[key] for key in before if key not in scrape.values],
                error=None,
            )
        )
        before = scrape.values
    return lines


def _failed(scrape: Scrape) -> ScrapeLine:
    """The line of a scrape that failed."""
    return ScrapeLine(
        t_ns=scrape.t_ns,
        mono_ns=scrape.t_ns,
        took_us=900,
        incarnation=None,
        new=[],
        changed={},
        gone=[],
        error="it failed",
    )


Midst = Callable[["Run"], None]
"""What happens in place of the third request of the chaos phase."""


def clean_run(plan: RunPlan | None = None, midst: Midst | None = None) -> Run:
    """A run in which everything went well; planned faults are armed and healed, and none fired yet."""
    run = Run(plan or make_plan())
    old = run.plan.versions.vllm < "0.24"
    run.server = dict.fromkeys(ALWAYS, 0.0)
    if run.plan.scenario.server.offload:
        run.server |= dict.fromkeys(OLD_OFFLOAD if old else NEW_OFFLOAD, 0.0)
    run.log = ["INFO starting", "INFO ready", "INFO serving"]
    run.event("server_start", pid=run.leader, port=8123, log_line=0)
    if run.plan.scenario.server.offload and run.plan.scenario.server.chaos:
        run.load_module()
    run.event("server_ready", seconds=30.0)
    run.scrape()
    _probe(run, "ready")
    for phase in run.plan.scenario.phases:
        _phase(run, phase, midst)
    _probe(run, "final")
    run.scrape()
    run.resources.append(resource_record(run.now_ns, leader=run.leader))
    run.event("drained", ok=True, seconds=0.5, running=0, waiting=0, kv_usage=0.0)
    run.event("leak_probe", ok=True, answer="true", detail="")
    if run.plan.scenario.server.keeps_ledger:
        run.audit_line("scheduler", "balance")
        run.audit_line("worker", "balance")
    run.event("server_stop", how="SIGTERM", code=0, log_line=len(run.log))
    return run


def _journal_line(
    t_ns: int, event: FaultEvent, fault: str | None, kind: str | None, n: int | None, evidence: Evidence
) -> FaultRecord:
    """A line of the fault journal of the worker."""
    return FaultRecord(
        t_ns=t_ns,
        mono_ns=t_ns,
        role="worker",
        pid=100,
        event=event,
        fault=fault,
        kind=kind,
        site="load",
        n=n,
        request=None,
        evidence=evidence,
    )


def _phase(run: Run, phase: PhaseSpec, midst: Midst | None) -> None:
    """Run one phase: its events, its requests and the faults in its middle."""
    faults: list[int | str] = [fault.id for fault in run.plan.scenario.faults]
    unique = run.plan.scenario.workloads[phase.workload].kind == "unique"
    run.scrape()
    run.event("phase_start", phase=phase.name, role=phase.role, requests=phase.requests)
    if phase.role == "chaos" and faults:
        run.event("armed", phase=phase.name, faults=faults)
        _note(run, "armed")
    for index in range(phase.requests):
        if midst is not None and phase.role == "chaos" and index == 2:
            midst(run)
        else:
            run.serve(phase.name, f"{phase.name}-prompt-{index}" if unique else f"prompt-{index}")
    if phase.role == "chaos" and faults:
        run.event("healed", phase=phase.name, faults=faults, confirmed=True)
        _note(run, "healed")
    run.client.append(healthy(phase.name, run.now_ns))
    run.scrape()
    run.resources.append(resource_record(run.now_ns, leader=run.leader))
    run.event("phase_end", phase=phase.name, sent=phase.requests, ok=phase.requests, failed=0, reason="done")
    run.pass_time(10 * SECOND)


def _note(run: Run, event: FaultEvent) -> None:
    """The module in the server notes it, too."""
    if any(line.event == "loaded" for line in run.faults):
        for fault in run.plan.scenario.faults:
            healed: Evidence = {"reason": "conductor", "fired": 0}
            evidence = healed if event == "healed" else {}
            run.faults.append(_journal_line(run.now_ns, event, fault.id, fault.kind, None, evidence))


def _probe(run: Run, where: str) -> None:
    """A probe that succeeded, with its health check."""
    record = run.serve("probe", f"probe-{where}")
    run.event("probe", where=where, ok=True, seconds=0.1, request=record.id, error="")
    run.event("health", where=where, ok=True, status=200)
