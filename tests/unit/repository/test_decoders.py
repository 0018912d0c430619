"""msgspec 0.22 prepares a type at its first use. Two threads that are the first end the process by SIGSEGV.

In a server both fault engines read the first schedule at once, so a decoder is made at import, by one thread.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("chaos", "history", "kvchaos", "loadtests", "oracles", "benchmarks")
ROUNDS = 300
"""Without the decoder made at import, 100 of them were always enough."""
FIRST_SCHEDULE = """
import importlib, sys, threading
from chaos.inside import control
from history.protocol import schedule

sys.setswitchinterval(1e-6)
for _ in range(int(sys.argv[1])):
    importlib.reload(schedule)
    importlib.reload(control)
    barrier = threading.Barrier(2)

    def read():
        barrier.wait()
        control.parse_schedule('{"v": 1, "epoch": 1, "seed": 1, "lease_s": 1.0, "faults": []}')

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def test_concurrent_first_schedule_reads_do_not_end_the_server() -> None:
    child = subprocess.run(
        [sys.executable, "-c", FIRST_SCHEDULE, str(ROUNDS)], cwd=ROOT, capture_output=True, text=True
    )
    assert (child.returncode, child.stderr) == (0, "")


def prepares_in_passing(call: ast.Call) -> bool:
    """Whether it is msgspec.json.decode(..., type=...)."""
    function = ast.unparse(call.func)
    return function == "msgspec.json.decode" and any(keyword.arg == "type" for keyword in call.keywords)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_type_is_prepared_at_its_first_use(package: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and prepares_in_passing(node)
    ]
    assert found == []


def test_typed_decode_outside_the_decoders_is_found() -> None:
    tree = ast.parse("msgspec.json.decode(text, type=Schedule)")
    assert [prepares_in_passing(node) for node in ast.walk(tree) if isinstance(node, ast.Call)] == [True]
