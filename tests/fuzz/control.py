"""Mutants of what lies in the control directory: the armed schedule, and the fault journals."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import msgspec

from chaos.control_plane import ControlPlane
from chaos.inside.control import (
    SCHEDULE,
    BadControl,
    check_directory,
    parse_schedule,
    schedule_text,
)
from chaos.inside.inside_kinds import KINDS
from chaos.inside.trigger_decisions import fires
from history import layout
from history.jsonl import UnreadableRun
from history.protocol.schedule import Schedule
from history.records import FaultRecord
from history.scenario import FaultSpec, Trigger
from kvchaos.errors import UsageError
from kvchaos.planning.run_plan import replay_of
from tests.fuzz.histories import Files, bases, write_files
from tests.fuzz.kind import ACCEPTED, Kind
from tests.fuzz.mutate import damage_tree, damaged_bytes, damaged_lines

TRIGGERS = (
    Trigger(every=3, offset=1),
    Trigger(nth=(1, 5, 9)),
    Trigger(probability=0.25, limit=4),
    Trigger(every=1, states=("decode", "loading")),
)


@cache
def _schedules() -> tuple[bytes, ...]:
    """As the conductor writes them."""
    return tuple(
        _armed([FaultSpec(id="f1", kind=name, trigger=trigger)])
        for name, kind in KINDS.items()
        for trigger in TRIGGERS
        if trigger.states is None or kind.of_request
    )


def _armed(faults: list[FaultSpec]) -> bytes:
    with TemporaryDirectory(prefix="kvchaos-fuzz-") as folder:
        control = ControlPlane(Path(folder) / "control")
        control.arm(7, faults)
        return (control.path / SCHEDULE).read_bytes()


def _make(chance: Random, folder: Path) -> None:
    files: Files = {**chance.choice(bases())}
    control = f"{layout.CONTROL}/{SCHEDULE}"
    files[control] = chance.choice(_schedules())
    journals = [name for name in files if name.startswith(f"{layout.CONTROL}/faults-")]
    for _ in range(chance.choice((1, 1, 2, 4))):
        name = chance.choice((control, control, chance.choice(journals)))
        files[name] = _damaged(files[name], chance)
    write_files(files, folder / "run")
    (folder / "run" / layout.CONTROL).chmod(0o755)


def _damaged(content: bytes, chance: Random) -> bytes:
    match chance.choice(("bytes", "lines", "values", "values", "values")):
        case "bytes":
            return damaged_bytes(content, chance)
        case "lines":
            return damaged_lines(content, chance)
    lines = content.splitlines() or [b""]
    at = chance.randrange(len(lines))
    try:
        line = json.loads(lines[at])
    except ValueError:
        return content
    damage_tree(line, chance)
    lines[at] = json.dumps(line).encode()
    return b"\n".join([*lines, b""] if len(lines) > 1 else lines)


def _read(folder: Path) -> str:
    """As the module in the server reads the schedule, and the conductor and `--replay` the journals."""
    control = folder / "run" / layout.CONTROL
    check_directory(control)
    _check(parse_schedule(schedule_text(control)))
    plane, faults = ControlPlane(control), [FaultSpec(id="f1", kind="copy_delay", trigger=TRIGGERS[0])]
    plane.fired()
    plane.confirmed("armed", faults, 0)
    plane.unsupported_faults(faults)
    assert all(len(reason.splitlines()) <= 1 for reason in plane.refusals(faults, 0))
    replay_of(folder / "run")
    return ACCEPTED


def _check(schedule: Schedule) -> None:
    """Each number of the schedule may get into a journal, and has to come back from there."""
    numbers = [schedule.epoch, schedule.seed]
    for fault in schedule.faults:
        trigger = fault.trigger
        fires(trigger, schedule.seed, fault.id, "site", 0, "key")
        numbers += [trigger.offset, trigger.limit or 0, *(trigger.nth or ())]
        numbers += [value for value in fault.params.values() if type(value) is int]
    line = {"t_ns": 0, "mono_ns": 0, "role": "worker", "pid": 1, "event": "armed"}
    line |= dict.fromkeys(("fault", "kind", "site", "n", "request")) | {"evidence": {"numbers": numbers}}
    msgspec.json.decode(json.dumps(line), type=FaultRecord)


CONTROL = Kind("control", _make, _read, (BadControl, UnreadableRun, UsageError))
