"""Writes a whole soak, with its events, fault journal, ledger, client records, resources and server log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec
import numpy as np
import yaml

from benchmarks.soak.soak_plan import (
    BLOCK_SIZE,
    FAULTS,
    MONO_SHIFT_NS,
    NS_PER_S,
    PROMPT_TOKENS,
    START_NS,
    SoakPhase,
    plan,
    soak_phases,
)
from benchmarks.soak.soak_requests import FAILED, LATE_MS, NONE, STRIKE_US, Columns, RequestWriter, joined
from benchmarks.soak.soak_scrapes import write_scrapes
from history import events as happened
from history import layout
from history.events import Timed, stored
from history.protocol.evidence import CopyDelayed, Healed, LoadFailed, LoadRetried, as_stored
from history.records import (
    PROBE,
    ClientRecord,
    Event,
    Evidence,
    FaultRecord,
    LedgerRecord,
    RequestRecord,
    ResourceRecord,
    Usage,
)

FINAL = "probe-1"
SCHEDULER_PID, WORKER_PID = 101, 102
LOG_HEAD = 80
"""Lines of a server's log before it is ready."""
MS = 1_000_000
PROBE_US = 20_000
"""How long one takes."""


def write_lines(path: Path, records: Iterable[msgspec.Struct]) -> None:
    """Write records as JSON Lines; an existing file is replaced."""
    encoder = msgspec.json.Encoder()
    with path.open("wb") as file:
        file.writelines(encoder.encode(record) + b"\n" for record in records)


def probe_columns(start_ns: int) -> Columns:
    """The columns of one probe, as the server counts it."""
    figures = (start_ns, PROBE_US - 1_000, PROBE_US, 1, 0, 0, 0, NONE)
    return Columns(*(np.array([figure]) for figure in figures))


def probe_record(number: int, start_ns: int) -> RequestRecord:
    """One tiny request of the conductor."""
    return RequestRecord(
        id=f"{PROBE}-{number}",
        prompt_id=PROBE,
        phase=PROBE,
        worker=-1,
        prompt_tokens=PROMPT_TOKENS,
        max_tokens=1,
        scheduled_ns=start_ns,
        start_ns=start_ns,
        start_mono_ns=start_ns - MONO_SHIFT_NS,
        end_us=PROBE_US,
        first_us=PROBE_US - 1_000,
        chunk_us=[PROBE_US - 1_000],
        chunk_tokens=[1],
        token_ids=[7],
        logprobs=[-0.5],
        usage=Usage(prompt_tokens=PROMPT_TOKENS, completion_tokens=1, cached_tokens=0),
        finish_reason="length",
        status=200,
        outcome="ok",
        error=None,
        first_block="ca",
    )


def events(
    soak_phases: list[SoakPhase], ends_ns: list[int], final_ns: int, log_lines: int
) -> Iterator[Event]:
    """The steps of the run. `ends_ns`: the last answer of each phase."""
    yield _event(START_NS, happened.ServerStart(pid=100, port=8000))
    yield _event(START_NS + 20 * NS_PER_S, happened.ServerReady(seconds=20.0))
    yield from _probe_events(START_NS + 21 * NS_PER_S, "ready", "probe-0")
    faults = [fault.id for fault in FAULTS]
    for soak_phase, end_ns in zip(soak_phases, ends_ns, strict=True):
        phase, role, sent = soak_phase.spec.name, soak_phase.spec.role, soak_phase.spec.requests
        yield _event(soak_phase.start_ns - 2 * MS, happened.PhaseStart(phase=phase, role=role, requests=sent))
        if role == "chaos":
            yield _event(soak_phase.start_ns - MS, happened.FaultsArmed(phase=phase, faults=faults))
            yield _event(end_ns + MS, happened.FaultsHealed(phase=phase, faults=faults, confirmed=True))
        # Late enough that a scrape lies between the last answer and the end.
        over = end_ns + NS_PER_S
        yield _event(over, happened.PhaseEnd(phase=phase, sent=sent, ok=sent, failed=0, reason="done"))
    yield from _probe_events(final_ns, "final", FINAL)
    yield _event(final_ns + NS_PER_S, happened.Drained(ok=True, seconds=0.1))
    yield _event(final_ns + 2 * NS_PER_S, happened.LeakProbe(ok=True, answer="true", detail=""))
    yield _event(final_ns + 3 * NS_PER_S, happened.ServerStop(how="SIGTERM", code=0, log_line=log_lines))


def _probe_events(t_ns: int, where: str, request: str) -> Iterator[Event]:
    yield _event(t_ns, happened.ProbeSent(where=where, ok=True, seconds=0.02, request=request, error=None))
    yield _event(t_ns + MS, happened.HealthChecked(where=where, ok=True, status=200))


def _event(t_ns: int, data: happened.EventData) -> Event:
    return stored(Timed(t_ns, t_ns - MONO_SHIFT_NS, data))


def journal(soak_phase: SoakPhase, load: Columns, end_ns: int) -> Iterator[FaultRecord]:
    """Every strike, and for a failed load the note that the server retries. `end_ns`: the last answer."""
    loaded = _line(START_NS, "loaded", None, 0, None, {"generation": "G8"})
    yield from (loaded, msgspec.structs.replace(loaded, role="scheduler", pid=SCHEDULER_PID))
    for fault in FAULTS:
        yield _line(soak_phase.start_ns - MS, "armed", fault.id, None, None, {"epoch": 1})
    struck = np.flatnonzero(load.strike)
    fired = Counter[str]()
    for number, index in enumerate(struck.tolist()):
        t_ns = int(load.start_ns[index]) + STRIKE_US * 1000
        request = f"cmpl-{soak_phase.spec.name}-{index}-0-0a1b2c3d"
        failed = load.strike[index] == FAILED
        fault = FAULTS[0 if failed else 1]
        fired[fault.id] += 1
        blocks = int(load.copied[index]) // BLOCK_SIZE
        late = CopyDelayed(job=number, direction="load", ms=LATE_MS)
        proof = as_stored(LoadFailed(blocks=blocks) if failed else late)
        yield _line(t_ns, "fired", fault.id, number, request, proof)
        if failed:
            note: Evidence = msgspec.to_builtins(LoadRetried())
            yield _line(t_ns + MS, "note", fault.id, number, request, note)
    for fault in FAULTS:
        healed = Healed(reason="conductor", fired=fired[fault.id])
        yield _line(end_ns + MS, "healed", fault.id, None, None, as_stored(healed))


def _line(
    t_ns: int, event: str, fault: str | None, n: int | None, request: str | None, evidence: Evidence
) -> FaultRecord:
    kind = next((spec.kind for spec in FAULTS if spec.id == fault), None)
    return msgspec.convert(
        {
            "t_ns": t_ns,
            "mono_ns": t_ns - MONO_SHIFT_NS,
            "role": "worker",
            "pid": WORKER_PID,
            "event": event,
            "fault": fault,
            "kind": kind,
            "site": "load-result",
            "n": n,
            "request": request,
            "states": ["loading"],
            "evidence": evidence,
        },
        FaultRecord,
    )


def ledger(role: str, totals: Mapping[str, int], first_ns: int, last_ns: int) -> Iterator[LedgerRecord]:
    """A balance a second; `totals` by account, which the last one has."""
    times_ns = range(first_ns, last_ns, NS_PER_S)
    for second, t_ns in enumerate(times_ns, start=1):
        evidence: Evidence = {"audited": 0, "violations": 0}
        for account, total in totals.items():
            evidence |= {f"{account}_begun": total * second // len(times_ns), f"{account}_open": 0}
            evidence |= {f"{account}_since_ns": None, f"{account}_names": []}
        yield LedgerRecord(
            t_ns=t_ns,
            mono_ns=t_ns - MONO_SHIFT_NS,
            role=role,
            pid=SCHEDULER_PID if role == "scheduler" else WORKER_PID,
            event="balance",
            rule=None,
            evidence=evidence,
        )


def resources(first_ns: int, last_ns: int) -> Iterator[ResourceRecord]:
    """The resources of the processes, once a second."""
    for t_ns in range(first_ns, last_ns, NS_PER_S):
        yield ResourceRecord(
            t_ns=t_ns,
            mono_ns=t_ns - MONO_SHIFT_NS,
            leader=100,
            started=4_711,
            processes=4,
            threads=90,
            files=120,
            sockets=20,
            resident_bytes=3_000_000_000 + t_ns % 1_000_003,
            anonymous_bytes=2_000_000_000 + t_ns % 1_000_003,
            shm_bytes=64 << 20,
        )


def client(soak_phase: SoakPhase, end_ns: int, rng: np.random.Generator) -> Iterator[ClientRecord]:
    """A line a second, or the phase's only one."""
    for t_ns in range(soak_phase.start_ns, end_ns + 1, NS_PER_S):
        yield ClientRecord(
            t_ns=t_ns + NS_PER_S,
            mono_ns=t_ns + NS_PER_S - MONO_SHIFT_NS,
            worker=0,
            phase=soak_phase.spec.name,
            wall_us=1_000_400,
            cpu_us=90_000,
            event_loop_lag_us=rng.integers(50, 3_000, 40).tolist(),
            gc_pause_us=rng.integers(50, 2_000, 2).tolist(),
            connections=12,
        )


def write_log(path: Path, requests: int, scrapes: int) -> int:
    """A line for each request and each scrape, as a server's access log has them; how many."""
    answered = 'INFO:     127.0.0.1:{port} - "POST /v1/completions HTTP/1.1" 200 OK\n'
    scraped = 'INFO:     127.0.0.1:40000 - "GET /metrics HTTP/1.1" 200 OK\n'
    ports = [answered.format(port=40_002 + 2 * connection) for connection in range(64)]
    each = max(1, requests // max(scrapes, 1))
    with path.open("w", encoding="utf-8") as file:
        file.write("(APIServer pid=100) INFO 01-15 08:00:00 [api_server.py:1] starting\n" * LOG_HEAD)
        for number in range(requests):
            file.write(ports[number % len(ports)])
            if number % each == 0:
                file.write(scraped)
    return LOG_HEAD + requests + -(-requests // each)


def write_soak(run_dir: Path, requests: int, seed: int) -> int:
    """Write the run directory of a soak of so many requests, at least 100; the number of scrapes in it.

    The same numbers give the same files. It contains no violation, so that every oracle must pass.
    """
    (run_dir / layout.CONTROL).mkdir(parents=True)
    planned = plan(requests, seed)
    (run_dir / layout.PLAN).write_text(yaml.safe_dump(planned.model_dump(mode="json")), encoding="utf-8")
    whole = list(soak_phases(requests))
    load = RequestWriter(run_dir / layout.requests_file(0), seed, whole[0].spec.requests)
    columns = [load.write(soak_phase) for soak_phase in whole]
    ends_ns = [int(part.end_ns().max()) for part in columns]
    final_ns = ends_ns[-1] + 3 * NS_PER_S
    probes_ns = (START_NS + 21 * NS_PER_S, final_ns - 30 * MS)
    counted = joined([*columns, *map(probe_columns, probes_ns)])
    scrapes = write_scrapes(
        run_dir / layout.METRICS, counted, START_NS + 22 * NS_PER_S, final_ns + 2 * NS_PER_S
    )
    rng = np.random.default_rng((seed, 2))
    write_lines(
        run_dir / layout.CLIENT,
        (
            line
            for soak_phase, end_ns in zip(whole, ends_ns, strict=True)
            for line in client(soak_phase, end_ns, rng)
        ),
    )
    probes = (probe_record(number, start_ns) for number, start_ns in enumerate(probes_ns))
    write_lines(run_dir / layout.requests_file(PROBE), probes)
    armed = next(index for index, soak_phase in enumerate(whole) if soak_phase.spec.role == "chaos")
    strikes = journal(whole[armed], columns[armed], ends_ns[armed])
    write_lines(run_dir / layout.CONTROL / "faults-worker-102.jsonl", strikes)
    blocks, copies = int(counted.copied.sum()) // BLOCK_SIZE, 2 * int((counted.copied > 0).sum())
    totals = {"scheduler": {"stores": blocks, "loads": blocks}, "worker": {"copies": copies}}
    for role, of_role in totals.items():
        lines = ledger(role, of_role, START_NS + 20 * NS_PER_S, final_ns + NS_PER_S)
        write_lines(run_dir / layout.CONTROL / f"ledger-{role}.jsonl", lines)
    write_lines(
        run_dir / layout.RESOURCES,
        resources(START_NS + 20 * NS_PER_S, final_ns + 2 * NS_PER_S),
    )
    log_lines = write_log(run_dir / layout.SERVER_LOG, requests, scrapes)
    write_lines(run_dir / layout.EVENTS, events(whole, ends_ns, final_ns, log_lines))
    return scrapes
