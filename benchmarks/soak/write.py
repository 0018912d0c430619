"""Writes a whole soak."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from benchmarks.soak import books
from benchmarks.soak.load import Load, joined
from benchmarks.soak.scrapes import write_scrapes
from benchmarks.soak.shape import NS_PER_S, START_NS, plan, stretches
from history import layout


def write_soak(run_dir: Path, requests: int, seed: int) -> int:
    """Write the run directory of a soak of so many requests, at least 100; the number of scrapes in it.

    The same numbers give the same files. All is well in it, so that an oracle's word can be checked.
    """
    (run_dir / layout.CONTROL).mkdir(parents=True)
    planned = plan(requests, seed)
    (run_dir / layout.PLAN).write_text(yaml.safe_dump(planned.model_dump(mode="json")), encoding="utf-8")
    whole = list(stretches(requests))
    load = Load(run_dir / layout.requests_file(0), seed, whole[0].spec.requests)
    columns = [load.write(stretch) for stretch in whole]
    ends_ns = [int(part.end_ns().max()) for part in columns]
    final_ns = ends_ns[-1] + 3 * NS_PER_S
    canaries_ns = (START_NS + 21 * NS_PER_S, final_ns - 30 * books.MS)
    counted = joined([*columns, *map(books.canary_columns, canaries_ns)])
    scrapes = write_scrapes(
        run_dir / layout.METRICS, counted, START_NS + 22 * NS_PER_S, final_ns + 2 * NS_PER_S
    )
    lots = np.random.default_rng((seed, 2))
    books.write_lines(
        run_dir / layout.CLIENT,
        (
            line
            for stretch, end_ns in zip(whole, ends_ns, strict=True)
            for line in books.client(stretch, end_ns, lots)
        ),
    )
    canaries = (books.canary(number, start_ns) for number, start_ns in enumerate(canaries_ns))
    books.write_lines(run_dir / layout.requests_file("canary"), canaries)
    armed = next(place for place, stretch in enumerate(whole) if stretch.spec.role == "chaos")
    journal = books.journal(whole[armed], columns[armed], ends_ns[armed])
    books.write_lines(run_dir / layout.CONTROL / "faults-worker-102.jsonl", journal)
    for role, accounts in (("scheduler", ("stores", "loads")), ("worker", ("copies",))):
        lines = books.ledger(role, accounts, START_NS + 20 * NS_PER_S, final_ns + NS_PER_S)
        books.write_lines(run_dir / layout.CONTROL / f"ledger-{role}.jsonl", lines)
    books.write_lines(
        run_dir / layout.RESOURCES, books.resources(START_NS + 20 * NS_PER_S, final_ns + 2 * NS_PER_S)
    )
    log_lines = books.write_log(run_dir / layout.SERVER_LOG, requests, scrapes)
    books.write_lines(run_dir / layout.EVENTS, books.events(whole, ends_ns, final_ns, log_lines))
    return scrapes
