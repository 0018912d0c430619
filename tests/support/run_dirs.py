"""A synthetic history as the files of a run directory."""

from __future__ import annotations

from pathlib import Path

import msgspec
import yaml

from history import layout
from history.events import EvidenceCounted, Timed, stored
from history.jsonl import LineWriter, read_lines
from history.records import Event
from history.seals import count_lines
from tests.support.histories import Run, scrape_lines


def write_run(run: Run, run_dir: Path) -> None:
    """The run as its files."""
    (run_dir / layout.CONTROL).mkdir(parents=True)
    (run_dir / layout.PLAN).write_text(yaml.safe_dump(run.plan.model_dump(mode="json")), encoding="utf-8")
    (run_dir / layout.SERVER_LOG).write_text("\n".join(run.log) + "\n", encoding="utf-8")
    files: list[tuple[str, list[msgspec.Struct]]] = [
        (layout.EVENTS, [*run.events]),
        (layout.METRICS, [*scrape_lines(run.scrapes)]),
        (layout.PROMETHEUS, [*scrape_lines(run.prometheus)]),
        (layout.requests_file(0), [*run.requests]),
        (layout.CLIENT, [*run.client]),
        (layout.RESOURCES, [*run.resources]),
        (f"{layout.CONTROL}/faults-worker-100.jsonl", [*run.faults]),
        (f"{layout.CONTROL}/ledger-worker-100.jsonl", [*run.ledger]),
    ]
    for name, records in files:
        with LineWriter(run_dir / name) as writer:
            for record in records:
                writer.write(record)


def note_evidence(run_dir: Path) -> None:
    """End the events as a run does: with the count of lines of each file."""
    last = next(reversed(list(read_lines(run_dir / layout.EVENTS, Event))))
    counted = Timed(last.t_ns, last.mono_ns, EvidenceCounted(lines=count_lines(run_dir)))
    with LineWriter(run_dir / layout.EVENTS) as writer:
        writer.write(stored(counted))
