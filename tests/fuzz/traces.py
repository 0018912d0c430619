"""Mutants of traces that a scenario plays."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from history.scenario import Param
from history.strict_yaml import dump_yaml
from kvchaos.errors import UsageError
from kvchaos.planning.scenario_file import find_scenario
from loadtests import workloads
from loadtests.workloads.trace import Trace
from tests.fuzz.kind import ACCEPTED, Kind
from tests.fuzz.mutate import damage_tree, damaged_bytes, damaged_lines
from tests.fuzz.scenarios import FILE, SEED, base, take_in

SCENARIO = "trace-replay"
PLAYED = 40
"""Entries of a trace."""
ODD_CELLS = (
    *(b"", b"-1", b"0", b"nan", b"inf", b"1e400", b"1e300", b"9" * 400, b"1.5", b'"'),
    *(b"2020-01-01", b"9999-12-31", b"\xff", b"\0"),
)


def _make(chance: Random, folder: Path) -> None:
    path = chance.choice(sorted((find_scenario(SCENARIO).parent / "traces").iterdir()))
    content = b"".join(path.read_bytes().splitlines(keepends=True)[: PLAYED + 20])
    for _ in range(chance.choice((1, 1, 2, 4))):
        match chance.choice(("bytes", "lines", "values", "values", "values")):
            case "bytes":
                content = damaged_bytes(content, chance)
            case "lines":
                content = damaged_lines(content, chance)
            case _:
                content = _damaged_entry(content, chance)
    (folder / path.name).write_bytes(content)
    scenario = _scenario(path.name, chance.choice((1.5, 1.5, 1.5, 1e-300)))
    (folder / FILE).write_text(dump_yaml(scenario), encoding="utf-8")


def _scenario(file: str, speed: float) -> dict[str, object]:
    params: dict[str, Param] = {"path": file, "format": file.split("-")[0], "speed": speed, "scale": 0.125}
    params |= {"entries": PLAYED, "max_prompt_tokens": 440, "max_output_tokens": 32}
    if params["format"] != "mooncake":
        params["block_tokens"] = 512
    phase = {"role": "golden", "workload": "recorded", "requests": PLAYED // 2, "concurrency": 4}
    return {
        **base(SCENARIO),
        "workloads": {"recorded": {"kind": "trace", "params": params}},
        "requires": [],
        "phases": [{"name": "golden", "arrivals": {"kind": "trace"}, **phase}],
    }


def _damaged_entry(content: bytes, chance: Random) -> bytes:
    """One value of a line is another one; in a table, also text that is no number."""
    lines = content.splitlines(keepends=True)
    if not lines:
        return content
    at = chance.randrange(len(lines))
    try:
        entry = json.loads(lines[at])
    except ValueError:
        cells = lines[at].rstrip(b"\n").split(b",")
        cells[chance.randrange(len(cells))] = chance.choice(ODD_CELLS)
        lines[at] = b",".join(cells) + b"\n"
        return b"".join(lines)
    damage_tree(entry, chance)
    lines[at] = json.dumps(entry).encode() + b"\n"
    return b"".join(lines)


def _read(folder: Path) -> str:
    """Taken in, and each request of the trace made."""
    scenario = take_in(folder)
    for name, spec in scenario.workloads.items():
        workload = workloads.build(spec, name, SEED)
        assert isinstance(workload, Trace)
        for index in range(min(len(workload), PLAYED)):
            assert len(workload.request(index).token_ids) <= workload.longest
            assert 0 <= workload.offset_ns(index) < 2**63
    return ACCEPTED


TRACES = Kind("traces", _make, _read, (UsageError,))
