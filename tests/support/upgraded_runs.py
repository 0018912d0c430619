"""A run directory of schema version 1 rewritten as one of today, record by record."""

from __future__ import annotations

from pathlib import Path

import msgspec

from history import layout
from history.jsonl import read_lines
from history.line_versions import PROBE_V1
from history.reader import read_plan
from history.records import (
    PROBE,
    ClientRecord,
    Event,
    FaultRecord,
    LedgerRecord,
    ProvenanceRecord,
    Record,
    RequestRecord,
    ResourceRecord,
    ScrapeLine,
)
from history.seals import recount
from kvchaos.planning.run_plan import write_plan

FILES: tuple[tuple[str, type[Record]], ...] = (
    (layout.REQUESTS_GLOB, RequestRecord),
    (layout.EVENTS, Event),
    (layout.METRICS, ScrapeLine),
    (layout.PROMETHEUS, ScrapeLine),
    (layout.CLIENT, ClientRecord),
    (layout.RESOURCES, ResourceRecord),
    (layout.FAULTS_GLOB, FaultRecord),
    (layout.LEDGER_GLOB, LedgerRecord),
    (layout.PROVENANCE_GLOB, ProvenanceRecord),
)


def upgrade(run_dir: Path) -> None:
    """Write all files of the run in today's version. Its seals, if any, are broken then."""
    write_plan(read_plan(run_dir), run_dir)
    for pattern, kind in FILES:
        for path in run_dir.glob(pattern):
            records = [_of_today(record, kind) for record in read_lines(path, kind)]
            path.write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in records))
    probes = run_dir / layout.requests_file(PROBE_V1)
    if probes.exists():
        probes.rename(run_dir / layout.requests_file(PROBE))
    recount(run_dir)


def _of_today(record: Record, kind: type[Record]) -> Record:
    return kind(**{name: getattr(record, name) for name in record.__struct_fields__})
