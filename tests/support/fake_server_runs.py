"""Whole runs without vLLM: a fake server as a registered environment, scenarios for it, and the command line.

They test our conducting only; what the fake answers says nothing about a real server.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from history import layout
from history.strict_yaml import dump_yaml
from history.verdict import RunVerdict
from kvchaos.paths import Workspace
from kvchaos.planning.run_plan import RunRequest
from kvchaos.planning.scenario_file import load_scenario
from kvchaos.servers.server_registry import ServerEnv, server_folder, write_server
from kvchaos.stacks.process_group import PROC, read_process
from kvchaos.stacks.process_registry import RunState
from tests.programs import named_programs

ROOT = Path(__file__).parents[2]
FAKE = "tests.fakes.vllm_server"
SERVER = "fake"
PATIENCE_S = 60.0

# The server's environment is cleared of Python's variables, and its current directory is not ours.
PYTHON = """#!/bin/sh
shift 2
PYTHONPATH={root} exec {python} -m {module} "$@"
"""


def register_fake(cache: Path, name: str = SERVER, vllm: str = "0.32.0") -> ServerEnv:
    """Note the fake as a server environment of this cache."""
    folder = server_folder(name, cache)
    folder.mkdir(parents=True)
    python = folder / "python"
    python.write_text(PYTHON.format(root=ROOT, python=sys.executable, module=FAKE))
    python.chmod(0o755)
    server = ServerEnv(
        name=name,
        kind="added",
        vllm=vllm,
        torch="none",
        python=python,
        python_version="3.11.7",
        preload=(),
        entry_module="the.real.one",
    )
    write_server(folder, server)
    return server


def scenario(*manners: str, load: int = 12, limits: Mapping[str, object] | None = None) -> dict[str, Any]:
    """A small scenario as data: 4 golden requests, the same again under load, then prompts never seen."""
    return {
        "name": "small",
        "summary": "A whole run in little time.",
        "server": {"gpu_blocks": 40, "offload": False, "chaos": False, "extra_args": list(manners)},
        "workloads": {
            "shared": {
                "kind": "shared_prefix",
                "params": {
                    "prefixes": 2,
                    "prefix_tokens": 16,
                    "prompts": 4,
                    "min_output": 4,
                    "max_output": 8,
                },
            },
            "fresh": {"kind": "unique", "params": {"prompt_tokens": 16, "min_output": 2, "max_output": 4}},
        },
        "phases": [
            {"name": "golden", "role": "golden", "workload": "shared", "requests": 4, "concurrency": 2},
            {
                "name": "load",
                "role": "load",
                "workload": "shared",
                "requests": load,
                "concurrency": 4,
                "first": 4,
            },
            {"name": "fresh", "role": "load", "workload": "fresh", "requests": 3, "concurrency": 2},
        ],
        "limits": {"ready_s": 30.0, "probe_s": 5.0, "drain_s": 5.0, **(limits or {})},
    }


def write_scenario(path: Path, content: object) -> Path:
    """Write a scenario file and return its path."""
    path.write_text(dump_yaml(content))
    return path


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until the condition is true; a timeout fails the test."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def runs(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    process = read_process(pid)
    return process is not None and process.runs


def groups_of(conductor: int) -> set[int]:
    """Process groups that the children of a process lead: those of its server and of its load processes."""
    found = set()
    for entry in PROC.iterdir():
        if not entry.name.isdecimal():
            continue
        process = read_process(int(entry.name))
        if process is not None and process.group == process.pid and _parent(process.pid) == conductor:
            found.add(process.pid)
    return found


def load_worker(conductor: int, number: int) -> int:
    """Process id of one of a conductor's own load workers."""
    for pid in groups_of(conductor):
        command = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
        if b"loadtests.load_worker" in command and command[command.index(b"--worker") + 1] == b"%d" % number:
            return pid
    raise AssertionError("there is no such worker")


def _parent(pid: int) -> int | None:
    """The parent's process id, None for a process that does not exist."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(text[text.rindex(")") + 2 :].split()[1])


def members(groups: set[int]) -> set[int]:
    """All running processes of these groups."""
    entries = [read_process(int(entry.name)) for entry in PROC.iterdir() if entry.name.isdecimal()]
    return {process.pid for process in entries if process and process.runs and process.group in groups}


@dataclass
class Bench:
    """A cache with the fake in it, a folder for runs, and the command line as a process of its own."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cache = self.folder / "cache"
        self.runs = self.folder / "runs"
        self.server = register_fake(self.cache)
        self.state_folder = self.cache / "state"

    def command(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `kvchaos` in a session of its own, as a terminal would."""
        own = {"KVCHAOS_CACHE": str(self.cache), "KVCHAOS_RUNS": str(self.runs), "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            [sys.executable, "-m", "kvchaos", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env={**os.environ, **named_programs(), **own, **self.environment},
            start_new_session=True,
        )

    def start(self, content: object, *options: str) -> subprocess.Popen[str]:
        """Start `kvchaos run` on a scenario."""
        path = write_scenario(self.folder / "small.yaml", content)
        return self.command("run", str(path), "--server", SERVER, *options)

    def workspace(self) -> Workspace:
        return Workspace(cache=self.cache, runs=self.runs, port=None)

    def request(self, content: object, workers: int = 1) -> RunRequest:
        """What `kvchaos run` would ask for."""
        path = write_scenario(self.folder / "small.yaml", content)
        return RunRequest(scenario=load_scenario(path), server=self.server, seed=3, workers=workers)

    def run_dir(self) -> Path:
        """The directory of the only run so far."""
        (only,) = self.runs.iterdir()
        return only

    def record(self) -> RunState:
        (path,) = self.state_folder.glob("*.json")
        return msgspec.json.decode(path.read_bytes(), type=RunState)

    def wait_for_event(self, kind: str, phase: str | None = None) -> None:
        """Wait until the run's event log has an event."""

        def happened() -> bool:
            if not self.runs.is_dir() or not any(self.runs.iterdir()):
                return False
            path = self.run_dir() / layout.EVENTS
            lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
            events = [msgspec.json.decode(line) for line in lines if line.endswith(b"\n")]
            return any(event["kind"] == kind and event["data"].get("phase") == phase for event in events)

        wait_for(happened)


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    out, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out, err


def verdict_of(run_dir: Path) -> RunVerdict:
    """The stored verdict of a run directory."""
    return msgspec.json.decode((run_dir / layout.VERDICT).read_bytes(), type=RunVerdict)
