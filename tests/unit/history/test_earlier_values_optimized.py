"""Python with -O leaves assertions out. What checks a line of a journal must not be one of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
READ = """
import sys
import msgspec
from history.earlier_values import revised_fault, revised_ledger
from history.records import FaultRecord, LedgerRecord

line, kind = sys.argv[1], {"fault": FaultRecord, "ledger": LedgerRecord}[sys.argv[2]]
revised = {"fault": revised_fault, "ledger": revised_ledger}[sys.argv[2]]
try:
    revised(msgspec.json.decode(line.encode(), type=kind))
except msgspec.ValidationError:
    sys.exit(0)
sys.exit("the line passed")
"""
FAULT = (
    '{"t_ns": 1, "mono_ns": 1, "role": "worker", "pid": 1, "event": "EVENT", "fault": null,'
    ' "kind": null, "site": null, "n": null, "request": null, "evidence": {"of": "nothing"}}'
)
LEDGER = (
    '{"t_ns": 1, "mono_ns": 1, "role": "worker", "pid": 1, "event": "EVENT", "rule": null,'
    ' "evidence": {"of_nothing": "x"}}'
)


@pytest.mark.parametrize(
    ("line", "of"),
    [
        *(
            (FAULT.replace("EVENT", event), "fault")
            for event in ("armed", "healed", "note", "loaded", "refused")
        ),
        *((LEDGER.replace("EVENT", event), "ledger") for event in ("balance", "violation")),
    ],
)
def test_unknown_evidence_is_refused_with_python_optimized(line: str, of: str) -> None:
    child = subprocess.run(
        [sys.executable, "-O", "-c", READ, line, of], cwd=ROOT, capture_output=True, text=True
    )
    assert (child.returncode, child.stderr) == (0, "")
