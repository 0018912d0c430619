"""Mutants of run directories: files damaged anyhow, or parts of the evidence removed."""

from __future__ import annotations

import json
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from xml.etree import ElementTree as ET

from packaging.version import Version

from history import layout
from history.expected_findings import Expectation
from history.reader import read_plan
from kvchaos.cli.app import run as command_line
from kvchaos.planning.run_plan import declared_effects, write_plan
from tests.fuzz.kind import Kind
from tests.fuzz.mutate import damage_tree, damaged_bytes, damaged_lines
from tests.fuzz.removal import remove_part
from tests.support.histories import clean_run
from tests.support.run_dirs import note_evidence, write_run
from tests.support.stored import DATA, SUFFIX, unpack
from tests.support.synthetic_records import fault, make_plan

Files = dict[str, bytes]
"""A run directory: content by path."""
ROOT = Path(__file__).parents[2]
STORED = ("green", "wrong-answers")
"""Runs of real servers in tests/data that are as expected."""
OUTCOMES = {0: "as expected", 1: "not as expected", 2: "unknown"}
NOTES = "notes_evidence: "
SEALED, UNSEALED = b"\nsealed: true\n", b"\nsealed: false\n"


class Refused(Exception):
    """What `kvchaos judge` complains of."""


@cache
def bases() -> tuple[Files, ...]:
    """Runs that are judged as expected, each with its evidence noted at the end.

    The small one is there several times, since it is judged soonest.
    """
    with TemporaryDirectory(prefix="kvchaos-fuzz-") as temp:
        folder = Path(temp)
        small = _small(folder / "small")
        stored = [unpack(DATA / f"{name}{SUFFIX}", folder) for name in STORED]
        examples = [path.parent for path in sorted((ROOT / "examples").glob(f"*/{layout.PLAN}"))]
        return (*[small] * 6, *map(_whole, [*stored, *examples]), _declaring(stored[-1]))


def _declaring(run_dir: Path) -> Files:
    """The run with the effects of its faults in its plan, and without an expectation."""
    plan = read_plan(run_dir)
    effects = tuple(declared_effects(plan.scenario.faults, Version(plan.versions.vllm)))
    changes = {"effects": effects, "expectation": Expectation(releases=">=0")}
    write_plan(plan.model_copy(update=changes), run_dir)
    return _whole(run_dir)


def _small(folder: Path) -> Files:
    run = clean_run(make_plan(faults=(fault("copy_delay"),)))
    run.fire("f1", "copy_delay", ms=0.001, direction="load")
    run.watch()
    write_run(run, folder)
    return _whole(folder)


def _whole(folder: Path) -> Files:
    """The files of a run directory, with the note and the plan's promise of it."""
    with TemporaryDirectory(prefix="kvchaos-fuzz-") as temp:
        run_dir = Path(temp) / "run"
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name not in (layout.VERDICT, layout.SEALS)
        }
        # Seals would find what the fuzzer alters. As a run without them it is judged by what it holds.
        files[layout.PLAN] = files[layout.PLAN].replace(SEALED, UNSEALED)
        if b'"kind":"evidence"' not in files[layout.EVENTS]:
            plan = files[layout.PLAN].decode().splitlines(keepends=True)
            plan = [line for line in plan if not line.startswith(NOTES)]
            files[layout.PLAN] = "".join([*plan, f"{NOTES}true\n"]).encode()
            write_files(files, run_dir)
            note_evidence(run_dir)
            files[layout.EVENTS] = (run_dir / layout.EVENTS).read_bytes()
    return files


def write_files(files: Files, folder: Path) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _make_damaged(chance: Random, folder: Path) -> None:
    files = {**chance.choice(bases())}
    for _ in range(chance.choice((1, 1, 2, 3))):
        name = chance.choice(sorted(files))
        files[name] = _damaged(files[name], chance)
    write_files(files, folder / "run")


def _damaged(content: bytes, chance: Random) -> bytes:
    match chance.choice(("bytes", "bytes", "lines", "values", "values", "values")):
        case "bytes":
            return damaged_bytes(content, chance)
        case "lines":
            return damaged_lines(content, chance)
    lines = content.splitlines(keepends=True) or [b""]
    at = chance.randrange(len(lines))
    try:
        line = json.loads(lines[at])
    except ValueError:  # The plan, the server's log, or a line that is damaged already.
        return damaged_bytes(content, chance)
    damage_tree(line, chance)
    lines[at] = json.dumps(line).encode() + b"\n"
    return b"".join(lines)


def _make_removed(chance: Random, folder: Path) -> None:
    files = {**chance.choice(bases())}
    whole = {**files}
    while files == whole:
        remove_part(files, chance)
    write_files(files, folder / "run")


def judge(folder: Path) -> str:
    """The outcome by the command line. Raises Refused with its complaint."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = command_line(["judge", str(folder / "run")])
    if code == 3:
        assert out.getvalue() == ""
        raise Refused(err.getvalue().removesuffix("\n"))
    assert err.getvalue() == ""
    ET.parse(folder / "run" / layout.JUNIT)
    return OUTCOMES[code]


HISTORIES = Kind("histories", _make_damaged, judge, (Refused,))
REMOVED = Kind(
    "removed",
    _make_removed,
    judge,
    (Refused,),
    forbidden={
        OUTCOMES[0]: "a part of the evidence was removed",
        OUTCOMES[1]: "what was removed is no misbehaviour of the server",
    },
)
