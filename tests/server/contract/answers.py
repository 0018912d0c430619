"""Asks any installed release the checks, in its own interpreter. Runs in the suite's."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache as once
from pathlib import Path

from kvchaos.paths import cache_folder
from kvchaos.servers.server_registry import ServerEnv, find_server
from tests.server.contract.listed import CHECKS, LEFT_OUT

ROOT = Path(__file__).parents[3]
SCRIPT = Path("tests/server/contract/checks.py")
DEADLINE_S = 540


@dataclass(frozen=True)
class Answers:
    """What the checks of one release said."""

    details: dict[str, str | None]
    """By check: what is wrong, None when nothing is."""
    left_out: dict[str, str]
    """By check that this release cannot express: why."""
    code: int | None
    """Exit code; None when the deadline ended it."""
    last_lines: str

    @property
    def end(self) -> str:
        return f"exit code {self.code}; last words: {self.last_lines[-2000:]}"


@once
def answers_of(release: str) -> Answers:
    """Run the checks once for all tests. Raises UsageError when the environment is not there."""
    return run_checks(find_server(release, cache_folder()))


def troubles(answers: Answers, generation: str) -> list[str]:
    """What keeps these answers from being those of a module that fits, one text each."""
    missing = [f"{check} did not run" for check in CHECKS if check not in answers.details]
    unknown = [f"{check} is not listed" for check in answers.details if check not in CHECKS]
    failed = [f"{check}: {detail}" for check, detail in answers.details.items() if detail is not None]
    listed = LEFT_OUT.get(generation, {})
    left_out = [f"left out, and not listed so: {answers.left_out}"] if answers.left_out != listed else []
    return [*missing, *unknown, *failed, *left_out, *([answers.end] if answers.code != 0 else [])]


def run_checks(server: ServerEnv, ahead: Path | None = None) -> Answers:
    """Run the checks on any environment; modules in the folder `ahead` go before the environment's own."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as noise:
        code: int | None = None
        # What was said before the deadline is kept, and the other tests do not wait for it again.
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = subprocess.run(
                [server.python, SCRIPT],
                cwd=ROOT,
                env=environment_of(server, ahead),
                stdout=output,
                stderr=noise,
                timeout=DEADLINE_S,
                check=False,
            ).returncode
        output.seek(0)
        noise.seek(0)
        last_lines = noise.read()
        lines = [json.loads(line) for line in output if line.startswith('{"check"')]
    return Answers(
        details={line["check"]: None if line["ok"] else line["detail"] for line in lines},
        left_out={line["check"]: line["left_out"] for line in lines if line["left_out"] is not None},
        code=code,
        last_lines=last_lines,
    )


def environment_of(server: ServerEnv, ahead: Path | None) -> dict[str, str]:
    """The environment of an interpreter of this server that imports the checks."""
    return {
        **os.environ,
        "LD_PRELOAD": ":".join(server.preload),
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": os.pathsep.join(map(str, [ahead, ROOT] if ahead else [ROOT])),
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_NO_USAGE_STATS": "1",
    }
