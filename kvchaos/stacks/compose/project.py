"""A run as a Compose project: which files, which values, and the part that is made for the run alone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from history.events import SERVER_SERVICE
from kvchaos.errors import UsageError
from kvchaos.paths import beside_packages
from kvchaos.stacks.server_command import Launch, RunFolders

SERVER = SERVER_SERVICE
PROMETHEUS = "prometheus"
GRAFANA = "grafana"
INSIDE = RunFolders(temp=Path("/tmp"), plugin=Path("/kvchaos/plugin"), control=Path("/kvchaos/control"))
"""The run's folders as the server in its container sees them."""
MODEL_INSIDE = "/kvchaos/model"
RUN_LABEL = "kvchaos.run"
STATE_LABEL = "kvchaos.state"
"""The folder of records that this run has its record in: runs of others on the same engine have another."""
CONFIG_S = 60.0


@dataclass(frozen=True, slots=True)
class Project:
    """The arguments of `docker compose`. Nothing of it needs an engine."""

    name: str
    files: tuple[Path, ...]
    variables: Mapping[str, str]
    """What the files leave open."""
    run_overlay: Mapping[str, object]
    """One more file, for this run alone."""
    grafana: bool = False

    def resolved(self) -> str:
        """The whole project with nothing left open, as YAML. Raises UsageError."""
        profiles = [
            argument for name in ([GRAFANA] if self.grafana else []) for argument in ("--profile", name)
        ]
        files = [argument for path in (*self.files, Path("-")) for argument in ("--file", str(path))]
        where = ["--project-name", self.name, "--project-directory", str(self.files[0].parent)]
        command = ["docker", "compose", *where, *files, *profiles, "config"]
        try:
            done = subprocess.run(
                command,
                input=yaml.safe_dump(escaped(self.run_overlay)),
                capture_output=True,
                text=True,
                timeout=CONFIG_S,
                check=False,
                env=environment(self.variables),
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise UsageError(f"docker compose cannot be run: {error}; install the Compose plug-in") from error
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or ["no output"]
            raise UsageError(f"docker compose config: {lines[-1]}")
        return done.stdout


def project_files(*overlays: str) -> tuple[Path, ...]:
    """The files of a project, as `gpu`, `cpu`, `prometheus` name them, the common one first."""
    folder = beside_packages("compose")
    return (folder / "compose.yaml", *(folder / f"compose.{name}.yaml" for name in overlays))


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """What `docker compose` sees: ours, and no settings that would make it another project."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COMPOSE_")}
    return {**inherited, **variables}


def server_part(launch: Launch, model: Path | None) -> dict[str, object]:
    """The run's own file: the server's command and environment, and the folder of its model if it has one."""
    service: dict[str, object] = {"command": list(launch.command), "environment": launch.environment}
    if model is not None:
        service["volumes"] = [
            {"type": "bind", "source": str(model), "target": MODEL_INSIDE, "read_only": True}
        ]
    return {"services": {SERVER: service}}


def owner() -> str:
    """Containers run as the caller, so that what they write is the caller's."""
    return f"{os.getuid()}:{os.getgid()}"


def escaped(value: object) -> object:
    """Compose takes a dollar for the begin of a variable."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, Mapping):
        return {name: escaped(inner) for name, inner in value.items()}
    if isinstance(value, Iterable):
        return [escaped(inner) for inner in value]
    return value
