"""Mutants of the text that a server answers at /metrics."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from random import Random

from history import layout
from history.jsonl import LineWriter
from history.line_versions import decoder_of
from history.metrics_subprocess import read_metrics
from history.records import ScrapeLine
from kvchaos.prometheus.scraper import BadScrape, DifferenceEncoder, parse_samples
from tests.fuzz.histories import bases
from tests.fuzz.kind import ACCEPTED, Kind
from tests.fuzz.mutate import damaged_bytes, damaged_lines

TEXT = "metrics.txt"
VALUES = (
    "NaN",
    "+Inf",
    "-Inf",
    "-1",
    "0",
    "1e400",
    "1e-400",
    "x",
    "",
    "1 2",
    "1 2 3",
    "0x10",
    "1_000",
    "9" * 400,
)
SERIES = 200


@cache
def _texts() -> tuple[bytes, ...]:
    """The first scrape of each base, as a server gave it."""
    return tuple(map(_exposition, bases()))


def _exposition(files: dict[str, bytes]) -> bytes:
    for content in files[layout.METRICS].splitlines():
        line = decoder_of(ScrapeLine).decode(content)
        if line.new:
            break
    exposition: list[str] = []
    for index, key in enumerate(line.new[:SERIES]):
        name = key.partition("{")[0]
        kind = "counter" if name.endswith("_total") else "gauge"
        header = f"# TYPE {name} {kind}"
        if header not in exposition:
            exposition += [f"# HELP {name} What it counts.", header]
        exposition.append(f"{key} {line.changed.get(index, 0.0)}")
    return "\n".join([*exposition, ""]).encode()


def _make(chance: Random, folder: Path) -> None:
    text = chance.choice(_texts())
    for _ in range(chance.choice((1, 1, 2, 5))):
        match chance.choice(("bytes", "lines", "value", "value")):
            case "bytes":
                text = damaged_bytes(text, chance)
            case "lines":
                text = damaged_lines(text, chance)
            case _:
                lines = text.split(b"\n")
                at = chance.randrange(len(lines))
                lines[at] = lines[at].rpartition(b" ")[0] + b" " + chance.choice(VALUES).encode()
                text = b"\n".join(lines)
    (folder / TEXT).write_bytes(text)


def _read(folder: Path) -> str:
    """As the suite scrapes: parsed, written as a difference, read back."""
    text = (folder / TEXT).read_bytes().decode("utf-8", errors="replace")
    samples = parse_samples(text)
    difference = DifferenceEncoder().encode(samples)
    line = ScrapeLine(
        t_ns=1,
        mono_ns=1,
        took_us=1,
        incarnation=samples.get("process_start_time_seconds"),
        new=difference.new,
        changed=difference.changed,
        gone=difference.gone,
        error=None,
    )
    with LineWriter(folder / layout.METRICS) as writer:
        writer.write(line)
    log = read_metrics(folder / layout.METRICS)
    assert len(list(log)) == len(samples)
    return ACCEPTED


METRICS_TEXT = Kind("metrics", _make, _read, (BadScrape,))
