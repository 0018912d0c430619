"""Mutants of schedules of faults on one line."""

from __future__ import annotations

from pathlib import Path
from random import Random

from history.strict_yaml import dump_yaml
from kvchaos.errors import UsageError
from tests.fuzz.kind import ACCEPTED, Kind
from tests.fuzz.mutate import damaged_bytes
from tests.fuzz.scenarios import FILE, base, take_in

TERMS = (
    *("20%delay(50ms..400ms)", "every 7 offset 3 bitflip", "nth 40,41 miss", "5% of keys miss", "3* refuse"),
    *(
        "in decode fail",
        "in queued,loading 50% miss",
        "10*bitflip(bit=3)",
        "pause(duration_s=2)",
        "lookup_miss",
    ),
    *("load_failure(direction=load)", "zero", "every 2 tier_shrunk(leave=4)"),
)
PIECES = (
    *("%", ";", ",", "(", ")", "=", "*", " of keys", "in ", "nth ", "every ", " offset ", "ms..", "decode"),
    *("0", "-1", "1e9", "99999999999999999999", "9" * 5000, "nan", "inf", "true", "\n", "é", "miss"),
)


def _make(chance: Random, folder: Path) -> None:
    line = "; ".join(chance.choice(TERMS) for _ in range(chance.choice((1, 1, 2, 4))))
    for _ in range(chance.choice((0, 1, 1, 2, 3))):
        at = chance.randrange(len(line) + 1)
        match chance.choice(("insert", "delete", "swap", "bytes")):
            case "insert":
                line = line[:at] + chance.choice(PIECES) + line[at:]
            case "delete":
                line = line[:at] + line[at + chance.choice((1, 1, 3, 8)) :]
            case "swap":
                line = line[at:] + line[:at]
            case _:
                line = damaged_bytes(line.encode(), chance).decode("utf-8", errors="replace")
    scenario = {**base("corruption-canary"), "faults": line}
    (folder / FILE).write_text(dump_yaml(scenario), encoding="utf-8")


def _read(folder: Path) -> str:
    take_in(folder)
    return ACCEPTED


SCHEDULES = Kind("schedules", _make, _read, (UsageError,))
