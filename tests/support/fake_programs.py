"""Stand-ins for the programs that an installation runs: small scripts that record how they were called."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

from kvchaos.servers.interpreters import ANSWER

FAKE_UV = """#!{python}
import json, pathlib, sys, time
calls = pathlib.Path({calls!r})
with calls.open("a") as file:
    print(json.dumps(sys.argv[1:]), file=file)
if sys.argv[1] == "venv":
    env = pathlib.Path(sys.argv[-1])
    (env / "bin").mkdir(parents=True)
    (env / "lib/python3.11/site-packages").mkdir(parents=True)
    (env / "lib/libiomp5.so").touch()
    (env / "bin/python").write_text({server_python!r})
    (env / "bin/python").chmod(0o755)
elif sys.argv[1:3] == ["pip", "install"]:
    print("Resolved 2 packages", flush=True)
    print({last_line!r}, file=sys.stderr)
    while {gate!r} and not pathlib.Path({gate!r}).exists():
        time.sleep(0.01)
    sys.exit({code})
"""


def write_program(path: Path, text: str) -> Path:
    """Write an executable script."""
    path.write_text(text)
    path.chmod(0o755)
    return path


def server_python(**changes: object) -> str:
    """The text of a program that answers like a server's interpreter, with some answers changed."""
    answer: dict[str, object] = {
        "python": "3.11.7",
        "prefix": "/nowhere",
        "vllm": "0.32.0",
        "torch": "2.13.0+cpu",
        "cpu": True,
    }
    line = f"{ANSWER}{json.dumps({**answer, **changes})}"
    return f"#!/bin/sh\necho 'INFO some log line'\necho '{line}'\n"


def broken_python(complaint: str) -> str:
    """The text of an interpreter that fails with this message."""
    return f"#!/bin/sh\necho '{complaint}' >&2\nexit 1\n"


class FakeUv:
    """A uv that makes environments of a few files."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "uv"
        self._calls = folder / "uv-calls"
        self.behave()

    def behave(
        self, *, python: str | None = None, code: int = 0, last_line: str = "done", gate: Path | None = None
    ) -> None:
        """Set what the next calls do; with a gate, `pip install` waits until that file is there."""
        text = FAKE_UV.format(
            python=sys.executable,
            calls=str(self._calls),
            server_python=python or server_python(),
            last_line=last_line,
            code=code,
            gate=str(gate or ""),
        )
        write_program(self.path, text)

    @property
    def calls(self) -> list[list[str]]:
        """Arguments of all calls so far."""
        if not self._calls.exists():
            return []
        return [json.loads(line) for line in self._calls.read_text().splitlines()]


@dataclass
class RecordedProgress:
    """Progress that records each step and detail."""

    steps: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)

    def step(self, text: str) -> None:
        self.steps.append(text)

    def detail(self, text: str) -> None:
        self.details.append(text)


def cuda_python(folder: Path) -> Path:
    """The interpreter of a CUDA environment that somebody made in a folder."""
    (folder / "bin").mkdir(parents=True)
    made = server_python(vllm="0.33.0", torch="2.14.0+cu130", cpu=False, prefix=str(folder))
    return write_program(folder / "bin" / "python", made)
