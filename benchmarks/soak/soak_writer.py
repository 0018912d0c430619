"""Writes a whole soak."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from benchmarks.soak import evidence_files
from benchmarks.soak.soak_plan import BLOCK_SIZE, NS_PER_S, START_NS, plan, soak_phases
from benchmarks.soak.soak_requests import RequestWriter, joined
from benchmarks.soak.soak_scrapes import write_scrapes
from history import layout


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
    probes_ns = (START_NS + 21 * NS_PER_S, final_ns - 30 * evidence_files.MS)
    counted = joined([*columns, *map(evidence_files.probe_columns, probes_ns)])
    scrapes = write_scrapes(
        run_dir / layout.METRICS, counted, START_NS + 22 * NS_PER_S, final_ns + 2 * NS_PER_S
    )
    rng = np.random.default_rng((seed, 2))
    evidence_files.write_lines(
        run_dir / layout.CLIENT,
        (
            line
            for soak_phase, end_ns in zip(whole, ends_ns, strict=True)
            for line in evidence_files.client(soak_phase, end_ns, rng)
        ),
    )
    probes = (evidence_files.probe_record(number, start_ns) for number, start_ns in enumerate(probes_ns))
    evidence_files.write_lines(run_dir / layout.requests_file("canary"), probes)
    armed = next(index for index, soak_phase in enumerate(whole) if soak_phase.spec.role == "chaos")
    journal = evidence_files.journal(whole[armed], columns[armed], ends_ns[armed])
    evidence_files.write_lines(run_dir / layout.CONTROL / "faults-worker-102.jsonl", journal)
    blocks, copies = int(counted.copied.sum()) // BLOCK_SIZE, 2 * int((counted.copied > 0).sum())
    totals = {"scheduler": {"stores": blocks, "loads": blocks}, "worker": {"copies": copies}}
    for role, of_role in totals.items():
        lines = evidence_files.ledger(role, of_role, START_NS + 20 * NS_PER_S, final_ns + NS_PER_S)
        evidence_files.write_lines(run_dir / layout.CONTROL / f"ledger-{role}.jsonl", lines)
    evidence_files.write_lines(
        run_dir / layout.RESOURCES,
        evidence_files.resources(START_NS + 20 * NS_PER_S, final_ns + 2 * NS_PER_S),
    )
    log_lines = evidence_files.write_log(run_dir / layout.SERVER_LOG, requests, scrapes)
    evidence_files.write_lines(
        run_dir / layout.EVENTS, evidence_files.events(whole, ends_ns, final_ns, log_lines)
    )
    return scrapes
