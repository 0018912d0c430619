"""A stored run as its files, open to change."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from history import layout
from history.strict_yaml import load_yaml

Record = dict[str, Any]
"""A line of a file, as JSON has it. Alterations may write what no type allows."""
Value = float | str


@dataclass
class Scrape:
    """One line of metrics.jsonl, with all values at that time."""

    line: Record
    values: dict[str, Value]


@dataclass
class Draft:
    """Alterations change it in place."""

    plan: Record
    log: list[str]
    lines: dict[str, list[Record]]
    """By file; all JSON Lines but the metrics."""
    scrapes: list[Scrape]

    def copy(self) -> Draft:
        copied = pickle.loads(pickle.dumps(self, pickle.HIGHEST_PROTOCOL))
        assert isinstance(copied, Draft)
        return copied

    def of(self, prefix: str) -> list[list[Record]]:
        """The lines of all files whose path begins so, a list for each file."""
        return [lines for name, lines in sorted(self.lines.items()) if name.startswith(prefix)]

    def events(self, kind: str) -> list[Record]:
        return [event for event in self.lines[layout.EVENTS] if event["kind"] == kind]

    def requests(self) -> list[Record]:
        return [record for lines in self.of("requests-") for record in lines]


def read_draft(run_dir: Path) -> Draft:
    """The files of a run."""
    lines = {
        path.relative_to(run_dir).as_posix(): _records(path)
        for path in sorted(run_dir.rglob("*.jsonl"))
        if path.name != layout.METRICS
    }
    plan = load_yaml(run_dir / layout.PLAN)
    assert isinstance(plan, dict)
    log = (run_dir / layout.SERVER_LOG).read_text(encoding="utf-8").split("\n")
    return Draft(plan, log, lines, _scrapes(_records(run_dir / layout.METRICS)))


def write_draft(draft: Draft, run_dir: Path) -> None:
    """Write the files into a folder that is empty or absent."""
    (run_dir / layout.CONTROL).mkdir(parents=True)
    # JSON is YAML, and is written sooner.
    (run_dir / layout.PLAN).write_text(json.dumps(draft.plan), encoding="utf-8")
    (run_dir / layout.SERVER_LOG).write_text("\n".join(draft.log), encoding="utf-8")
    for name, records in {**draft.lines, layout.METRICS: _differences(draft.scrapes)}.items():
        text = "".join(json.dumps(record) + "\n" for record in records)
        (run_dir / name).write_text(text, encoding="utf-8")


def _records(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _scrapes(records: list[Record]) -> list[Scrape]:
    names: list[str] = []
    values: dict[str, Value] = {}
    scrapes: list[Scrape] = []
    for record in records:
        names += record["new"]
        for column in record["gone"]:
            del values[names[column]]
        values |= {names[int(column)]: value for column, value in record["changed"].items()}
        scrapes.append(Scrape(record, dict(values)))
    return scrapes


def _differences(scrapes: list[Scrape]) -> list[Record]:
    columns: dict[str, int] = {}
    before: dict[str, Value] = {}
    lines: list[Record] = []
    for scrape in scrapes:
        if scrape.line["error"] is not None:
            lines.append({**scrape.line, "new": [], "changed": {}, "gone": []})
            continue
        new = [name for name in scrape.values if name not in columns]
        columns |= {name: len(columns) + number for number, name in enumerate(new)}
        changed = {
            str(columns[name]): value for name, value in scrape.values.items() if before.get(name) != value
        }
        gone = [columns[name] for name in before if name not in scrape.values]
        lines.append({**scrape.line, "new": new, "changed": changed, "gone": gone})
        before = scrape.values
    return lines
