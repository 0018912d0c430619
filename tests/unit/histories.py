"""Small synthetic histories: a clean run of a pretended server, for tests to damage in one place."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from history.metrics import MetricLog
from history.plan import (
    ClientBounds,
    Expectation,
    FaultSpec,
    Limits,
    PhaseSpec,
    Role,
    RunPlan,
    Scenario,
    ServerSettings,
    Trigger,
    Versions,
    WorkloadSpec,
)
from history.reader import History
from history.records import (
    ClientRecord,
    Event,
    Evidence,
    FaultRecord,
    LedgerRecord,
    RequestError,
    RequestRecord,
    Scalar,
    ScrapeLine,
    Usage,
)

BookEvent = Literal["balance", "violation"]

START_NS = 1_800_000_000_000_000_000
MS = 1_000_000
SECOND = 1_000_000_000
PROMPT_TOKENS = 64
ANSWER_TOKENS = 4
EXTERNAL_TOKENS = 32
LOCAL_TOKENS = 16
KV_TOKEN_BYTES = 1024
PROMPTS = 4
"""Requests in a phase, each with a prompt of its own; every phase asks the same ones unless unique."""

RUNNING = "vllm:num_requests_running"
WAITING = "vllm:num_requests_waiting"
USAGE = "vllm:kv_cache_usage_perc"
PROMPT = "vllm:prompt_tokens_total"
GENERATED = "vllm:generation_tokens_total"
CACHED = "vllm:prompt_tokens_cached_total"
RECOMPUTED = "vllm:prompt_tokens_recomputed_total"
PREEMPTIONS = "vllm:num_preemptions_total"
COMPUTED_SOURCE = 'vllm:prompt_tokens_by_source_total{source="local_compute"}'
LOCAL_SOURCE = 'vllm:prompt_tokens_by_source_total{source="local_cache_hit"}'
EXTERNAL_SOURCE = 'vllm:prompt_tokens_by_source_total{source="external_kv_transfer"}'
DEVICE_TIER = 'vllm:prompt_tokens_cached_by_source_total{source="device"}'
HOST_TIER = 'vllm:prompt_tokens_cached_by_source_total{source="host"}'
LENGTH = 'vllm:request_success_total{finished_reason="length"}'
LOCAL_HITS = "vllm:prefix_cache_hits_total"
LOCAL_QUERIES = "vllm:prefix_cache_queries_total"
EXTERNAL_HITS = "vllm:external_prefix_cache_hits_total"
EXTERNAL_QUERIES = "vllm:external_prefix_cache_queries_total"
TTFT_SMALL = 'vllm:time_to_first_token_seconds_bucket{le="0.1"}'
TTFT_ALL = 'vllm:time_to_first_token_seconds_bucket{le="+Inf"}'
TTFT_COUNT = "vllm:time_to_first_token_seconds_count"
TTFT_SUM = "vllm:time_to_first_token_seconds_sum"
LOAD_BYTES = "vllm:kv_offload_load_bytes_total"
LOAD_TIME = "vllm:kv_offload_load_time_total"
STORE_TIME = "vllm:kv_offload_store_time_total"
ALLOCATION_FAILURES = "vllm:kv_offload_allocation_failure_total"
OLD_LOAD_BYTES = 'vllm:kv_offload_total_bytes_total{transfer_type="CPU_to_GPU"}'
OLD_LOAD_TIME = 'vllm:kv_offload_total_time_total{transfer_type="CPU_to_GPU"}'

ALWAYS = (
    *(RUNNING, WAITING, USAGE, PROMPT, GENERATED, CACHED, PREEMPTIONS),
    *(COMPUTED_SOURCE, LOCAL_SOURCE, EXTERNAL_SOURCE, LENGTH),
    *(DEVICE_TIER, HOST_TIER),
    *(LOCAL_HITS, LOCAL_QUERIES, EXTERNAL_HITS, EXTERNAL_QUERIES),
    *(TTFT_SMALL, TTFT_ALL, TTFT_COUNT, TTFT_SUM),
)
NEW_OFFLOAD = (LOAD_BYTES, LOAD_TIME, STORE_TIME, ALLOCATION_FAILURES)
OLD_OFFLOAD = (OLD_LOAD_BYTES, OLD_LOAD_TIME)


@dataclass(slots=True)
class Scrape:
    """The samples of one scrape; tests change them before the history is built."""

    t_ns: int
    values: dict[str, float]
    incarnation: float | None = 1_800_000_000.0


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
    log: list[str] = field(default_factory=list)
    client: list[ClientRecord] = field(default_factory=list)
    server: dict[str, float] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)

    def pass_time(self, ns: int) -> None:
        self.now_ns += ns

    def event(self, kind: str, **data: Scalar | list[int | str]) -> None:
        self.pass_time(MS)
        self.events.append(Event(t_ns=self.now_ns, mono_ns=self.now_ns, kind=kind, data=data))

    def scrape(self) -> None:
        self.pass_time(MS)
        self.scrapes.append(Scrape(self.now_ns, dict(self.server)))

    def ask(self, phase: str, prompt_id: str) -> RequestRecord:
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
        cached = record.prompt_id in self.seen
        self.seen.add(record.prompt_id)
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

    def change_request(self, place: int, **changes: object) -> RequestRecord:
        """Replace fields of one request; returns the changed record."""
        self.requests[place] = msgspec.structs.replace(self.requests[place], **changes)
        return self.requests[place]

    def change_event(self, kind: str, **changes: Scalar | list[int | str]) -> None:
        """Change data of every event of a kind."""
        self.events = [
            msgspec.structs.replace(event, data={**event.data, **changes}) if event.kind == kind else event
            for event in self.events
        ]

    def first_of(self, phase: str) -> int:
        """Place of the first request of a phase."""
        return next(place for place, record in enumerate(self.requests) if record.phase == phase)

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
        self.faults.append(
            FaultRecord(
                t_ns=t_ns,
                mono_ns=t_ns,
                role="worker",
                pid=100,
                event="fired",
                fault=fault,
                kind=kind,
                site="load",
                n=len(self.faults),
                request=None,
                evidence=dict(evidence),
            )
        )

    def book(self, role: str, event: BookEvent, rule: str | None = None, /, **evidence: Scalar) -> None:
        """A line of the ledger; of a balance all that is not given is at rest."""
        whole: Evidence = dict(evidence)
        if event == "balance":
            for label in {"scheduler": ("stores", "loads"), "worker": ("copies",)}[role]:
                whole = {f"{label}_begun": 4, f"{label}_open": 0, f"{label}_since_ns": None} | whole
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

    def history(self, run_dir: Path = Path("runs/synthetic")) -> History:
        return History(
            run_dir=run_dir,
            plan=self.plan,
            requests=list(self.requests),
            faults=list(self.faults),
            ledger=list(self.ledger),
            events=list(self.events),
            metrics=MetricLog.from_lines(scrape_lines(self.scrapes)),
            log=list(self.log),
            client=list(self.client),
        )


def scrape_lines(scrapes: list[Scrape]) -> list[ScrapeLine]:
    """The scrapes as the file holds them: only what is new, changed or gone."""
    places: dict[str, int] = {}
    before: dict[str, float] = {}
    lines: list[ScrapeLine] = []
    for scrape in scrapes:
        new = [key for key in scrape.values if key not in places]
        for key in new:
            places[key] = len(places)
        changed: dict[str, float | str] = {}
        for key, value in scrape.values.items():
            if before.get(key) != value:
                changed[str(places[key])] = "NaN" if value != value else value
        lines.append(
            ScrapeLine(
                t_ns=scrape.t_ns,
                mono_ns=scrape.t_ns,
                took_us=900,
                incarnation=scrape.incarnation,
                new=new,
                changed=changed,
                gone=[places[key] for key in before if key not in scrape.values],
                error=None,
            )
        )
        before = scrape.values
    return lines


def good_request(request_id: str, prompt_id: str, phase: str, start_ns: int) -> RequestRecord:
    return RequestRecord(
        id=request_id,
        prompt_id=prompt_id,
        phase=phase,
        worker=0,
        prompt_tokens=PROMPT_TOKENS,
        max_tokens=ANSWER_TOKENS,
        intended_ns=start_ns,
        start_ns=start_ns,
        start_mono_ns=start_ns,
        end_us=100_000,
        first_us=20_000,
        chunk_us=[20_000, 40_000, 60_000],
        chunk_tokens=[1, 2, 1],
        token_ids=[11, 12, 13, 14],
        logprobs=[-0.5, -0.25, -1.75, -0.125],
        usage=Usage(prompt_tokens=PROMPT_TOKENS, completion_tokens=ANSWER_TOKENS),
        finish_reason="length",
        status=200,
        outcome="ok",
        error=None,
    )


def healthy(phase: str, now_ns: int) -> ClientRecord:
    """A load process with nothing to complain of."""
    return ClientRecord(
        t_ns=now_ns,
        mono_ns=now_ns,
        worker=0,
        phase=phase,
        wall_us=5_000_000,
        cpu_us=500_000,
        lag_us=[100] * 200,
        collector_us=[2_000],
        connections=4,
    )


def failure(kind: str, message: str, status: int | None = 500) -> dict[str, object]:
    """Changes that turn a good request into a failed one without any token."""
    return {
        "outcome": "error",
        "status": status,
        "error": RequestError(kind=kind, status=status, message=message),
        "usage": None,
        "finish_reason": None,
        "first_us": None,
        "chunk_us": [],
        "chunk_tokens": [],
        "token_ids": [],
        "logprobs": [],
    }


def fault(kind: str, *, limit: int | None = None) -> FaultSpec:
    return FaultSpec(id="f1", kind=kind, trigger=Trigger(every=1, limit=limit))


def make_plan(
    *,
    roles: tuple[Role, ...] = ("golden", "chaos", "healed"),
    faults: tuple[FaultSpec, ...] = (),
    vllm: str = "0.32.0",
    server: ServerSettings | None = None,
    workload: str = "shared-prefix",
    expectation: Expectation | None = None,
) -> RunPlan:
    """A plan with one phase a role, named after it."""
    phases = tuple(
        PhaseSpec(name=role, role=role, workload="main", requests=PROMPTS, concurrency=1) for role in roles
    )
    return RunPlan(
        run_id="synthetic-1",
        seed=7,
        stack="local",
        scenario=Scenario(
            name="synthetic",
            summary="A pretended run.",
            server=server or ServerSettings(gpu_blocks=40),
            workloads={"main": WorkloadSpec(kind=workload)},
            phases=phases,
            faults=faults,
            limits=Limits(stall_s=5.0),
        ),
        expectation=expectation or Expectation(releases=">=0.16"),
        base_url="http://127.0.0.1:8123",
        command=("python", "-m", "vllm.entrypoints.openai.api_server"),
        environment={},
        versions=Versions(
            kvchaos="0.1.0",
            vllm=vllm,
            torch="2.13.0",
            python="3.11.7",
            server_name="cpu-0.32.0",
            model="0123456789abcdef",
            git="unknown",
            host="Linux x86_64, 2 processors",
        ),
        kv_token_bytes=KV_TOKEN_BYTES,
        created="2026-11-24T08:00:00Z",
    )


def latency_plan() -> RunPlan:
    """A plan that says how slow its client may be."""
    plan = make_plan()
    bounds = ClientBounds(lag_ms=1000.0, late_median_ms=250.0, late_ms=1000.0)
    limits = plan.scenario.limits.model_copy(update={"client": bounds})
    return plan.model_copy(update={"scenario": plan.scenario.model_copy(update={"limits": limits})})


def clean_run(plan: RunPlan | None = None) -> Run:
    """A run in which everything went well; planned faults are armed and healed, and none fired yet."""
    run = Run(plan or make_plan())
    old = run.plan.versions.vllm < "0.24"
    run.server = dict.fromkeys(ALWAYS, 0.0)
    if run.plan.scenario.server.offload:
        run.server |= dict.fromkeys(OLD_OFFLOAD if old else NEW_OFFLOAD, 0.0)
    run.log = ["INFO starting", "INFO ready", "INFO serving"]
    run.event("server_start", pid=99, port=8123)
    run.event("server_ready", seconds=30.0)
    run.scrape()
    _canary(run, "ready")
    for phase in run.plan.scenario.phases:
        _phase(run, phase)
    _canary(run, "final")
    run.event("health", where="final", ok=True, status=200)
    run.scrape()
    run.event("drained", ok=True, seconds=0.5, running=0, waiting=0, kv_usage=0.0)
    run.event("leak_probe", ok=True, answer="true", detail="")
    if run.plan.scenario.server.offload and run.plan.scenario.server.chaos:
        run.book("scheduler", "balance")
        run.book("worker", "balance")
    run.event("server_stop", how="term", code=0, log_line=len(run.log))
    return run


def _phase(run: Run, phase: PhaseSpec) -> None:
    faults: list[int | str] = [fault.id for fault in run.plan.scenario.faults]
    unique = run.plan.scenario.workloads[phase.workload].kind == "unique"
    run.scrape()
    run.event("phase_start", phase=phase.name, role=phase.role, requests=phase.requests)
    if phase.role == "chaos" and faults:
        run.event("armed", phase=phase.name, faults=faults)
    for index in range(phase.requests):
        run.ask(phase.name, f"{phase.name}-prompt-{index}" if unique else f"prompt-{index}")
    if phase.role == "chaos" and faults:
        run.event("healed", phase=phase.name, faults=faults, confirmed=True)
    run.client.append(healthy(phase.name, run.now_ns))
    run.scrape()
    run.event("phase_end", phase=phase.name, sent=phase.requests, ok=phase.requests, failed=0, reason="done")
    run.pass_time(10 * SECOND)


def _canary(run: Run, where: str) -> None:
    record = run.ask("canary", f"canary-{where}")
    run.event("canary", where=where, ok=True, seconds=0.1, request=record.id, error="")
