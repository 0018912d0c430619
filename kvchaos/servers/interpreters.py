"""Finds the Python interpreter for a server environment, and reads what is installed and configured there."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.specifiers import SpecifierSet
from pydantic import ValidationError

from history.strict_model import Strict
from kvchaos.errors import UsageError
from kvchaos.servers.installation import CommandFailed, Runner, SilentProgress

BASE_PROBE = "import platform, sys; print(platform.python_version(), sys._base_executable, sep='\\n')"
ANSWER = "kvchaos-probe "
SERVER_PROBE = f"""
import importlib, json, platform, sys
import torch, vllm
from vllm.platforms import current_platform
importlib.import_module(sys.argv[1])
print({ANSWER!r} + json.dumps({{
    "python": platform.python_version(),
    "prefix": sys.prefix,
    "vllm": vllm.__version__,
    "torch": str(torch.__version__),
    "cpu": bool(current_platform.is_cpu()),
}}), flush=True)
"""
PYTHONS = ("3.15", "3.14", "3.13", "3.12", "3.11", "3.10")
"""Versions of Python that an error message may recommend, newest first."""
NOT_INHERITED = ("PYTHONPATH", "PYTHONHOME", "LD_PRELOAD")
"""Would bring this suite's packages, or unrecorded libraries, into the server's interpreter."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python interpreter that is no virtual environment."""

    path: Path
    version: str


class ServerFacts(Strict):
    """Versions and platform of a server environment, read by importing vLLM in it."""

    python: str
    prefix: Path
    vllm: str
    torch: str
    cpu: bool
    """vLLM sees itself on the CPU platform."""


def find_base(wanted: SpecifierSet, uv: Path) -> Interpreter:
    """Return an interpreter in the wanted range: the running one, else one that uv finds on the machine.

    Nothing is downloaded. Raises UsageError when there is none.
    """
    running = base_interpreter(Path(sys.executable))
    if running is not None and wanted.contains(running.version, prereleases=True):
        return running
    found = subprocess.run(
        [uv, "python", "find", "--system", "--no-python-downloads", "--no-project", str(wanted)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    path = found.stdout.strip()
    other = base_interpreter(Path(path)) if found.returncode == 0 and path else None
    if other is None:
        here = running.version if running is not None else "unknown"
        raise UsageError(f"no Python {wanted} on this machine (running: {here}); {_remedy(wanted)}")
    return other


def _remedy(wanted: SpecifierSet) -> str:
    """What to install: the newest Python in the range."""
    newest = next((version for version in PYTHONS if wanted.contains(version)), None)
    if newest is None:
        return "install one, and put it on PATH"
    return f"install Python {newest}, so that python{newest} is on PATH"


def base_interpreter(python: Path) -> Interpreter | None:
    """The interpreter behind `python`, which may be a virtual environment's; None when it does not run."""
    try:
        answer = subprocess.run(
            [python, "-c", BASE_PROBE],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = answer.stdout.splitlines()
    if answer.returncode != 0 or len(lines) != 2:
        return None
    base = Path(lines[1])
    return Interpreter(base if base.is_file() else python, lines[0])


def read_server_facts(python: Path, entry_module: str, preload: Sequence[str], runner: Runner) -> ServerFacts:
    """Import vLLM and its entry module in the environment, as a start would.

    Raises CommandFailed when that fails or the answer is not one.
    """
    environment = server_environment(os.environ)
    if preload:
        environment["LD_PRELOAD"] = ":".join(preload)
    quiet = replace(runner, progress=SilentProgress())
    lines = quiet.run([python, "-c", SERVER_PROBE, entry_module], environment)
    answers = [line.removeprefix(ANSWER) for line in lines if line.startswith(ANSWER)]
    try:
        return ServerFacts.model_validate_json(answers[-1] if answers else "")
    except ValidationError as error:
        raise CommandFailed(python.name, 0, f"not an answer: {json.dumps(lines[-3:])}") from error


def server_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for the server's interpreter: no usage reports, no model downloads, no leaks."""
    kept = {name: value for name, value in environ.items() if name not in NOT_INHERITED}
    return {**kept, "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}


def configured_find_links(base_python: Path, environ: Mapping[str, str] = os.environ) -> list[str]:
    """All find-links: of uv's and pip's environment variables, then of pip's files. None twice.

    They name folders and pages with more wheels; a CPU build of torch may be there. uv does not read pip's
    settings, so they are handed on.
    """
    return existing_links(
        [
            *environ.get("UV_FIND_LINKS", "").split(","),
            *environ.get("PIP_FIND_LINKS", "").split(),
            *parse_pip_config(_pip_config(base_python)),
        ]
    )


def parse_pip_config(text: str) -> list[str]:
    """The find-links in the output of `pip config list`: lines such as global.find-links='/a /b'."""
    links: list[str] = []
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key.split(".")[-1] != "find-links":
            continue
        try:
            links += str(ast.literal_eval(value)).split()
        except (ValueError, SyntaxError):
            links += value.split()
    return links


def existing_links(links: Iterable[str]) -> list[str]:
    """Make folders absolute and leave out missing ones: uv stops at a folder that pip only warns about."""
    usable_links: dict[str, None] = {}
    for link in map(str.strip, links):
        if "://" in link:
            usable_links[link] = None
        elif link and (folder := Path(link).expanduser().absolute()).exists():
            usable_links[str(folder)] = None
    return list(usable_links)


def _pip_config(base_python: Path) -> str:
    """The settings of pip as it prints them; empty when there is no pip."""
    try:
        answer = subprocess.run(
            [base_python, "-m", "pip", "config", "list"],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout if answer.returncode == 0 else ""
