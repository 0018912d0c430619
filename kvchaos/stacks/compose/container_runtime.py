"""The Docker engine of this machine, the same one that `docker compose` talks to."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import docker
import requests
from docker.errors import DockerException

from kvchaos.errors import UsageError

UNIX = "unix://"
DEFAULT = f"{UNIX}/var/run/docker.sock"
CLI_TIMEOUT_S = 20.0
CALL_S = 60
FIX = "start it (sudo systemctl start docker), and be in the group docker"
RUNTIME_ERRORS = (DockerException, requests.RequestException)
"""What the SDK raises when the engine refuses, or does not answer."""


def connect() -> docker.DockerClient:
    """Raises UsageError when no engine answers, or it is not on this machine."""
    address = _address()
    if not address.startswith(UNIX):
        raise UsageError(f"the Docker engine at {address} is not on this machine: folders cannot be shared")
    try:
        # Before the SDK does, which leaves a socket open when nobody answers.
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(address.removeprefix(UNIX))
        # Asks which version of its interface the engine speaks.
        return docker.DockerClient(base_url=address, version="auto", timeout=CALL_S)
    except (OSError, *RUNTIME_ERRORS) as error:
        raise UsageError(f"the Docker engine at {address} does not answer: {FIX}") from error


@contextmanager
def runtime_errors_named(what: str) -> Iterator[None]:
    """Turn an error of the engine into one line that begins with `what`."""
    try:
        yield
    except RUNTIME_ERRORS as error:
        raise UsageError(f"{what}: {' '.join(str(error).split())}") from error


def _address() -> str:
    """As the command line has it: from the environment, else of its current context."""
    if named := os.environ.get("DOCKER_HOST"):
        return named
    command = ("docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}")
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=CLI_TIMEOUT_S)
    except FileNotFoundError as error:
        raise UsageError("no docker command: install Docker Engine and its Compose plug-in") from error
    except subprocess.SubprocessError:
        return DEFAULT
    return done.stdout.strip() or DEFAULT
