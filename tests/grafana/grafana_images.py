"""The images of Grafana that the tests start. `python -m tests.grafana.grafana_images` pulls them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

import docker

from kvchaos.errors import UsageError
from kvchaos.stacks.compose.docker_engine import connect, docker_errors_named
from kvchaos.stacks.compose.images import has_image
from tests.boards.panel_bundles import chosen_versions

PULL_S = 900.0
USAGE = 3


def image_of(version: str) -> str:
    """The official image of a version."""
    return f"grafana/grafana:{version}"


def connected() -> docker.DockerClient:
    """The Docker engine. Raises UsageError when it does not answer."""
    try:
        return connect()
    except UsageError as error:
        raise UsageError(f"the tests in Grafana need a Docker engine: {error}") from error


def ensure_grafana_images(client: docker.DockerClient, versions: Sequence[str]) -> None:
    """Pull the images that the engine does not have. Raises UsageError."""
    for image in map(image_of, versions):
        with docker_errors_named(f"image {image}"):
            present = has_image(client, image)
        if not present:
            _pull(image)


def _pull(image: str) -> None:
    try:
        done = subprocess.run(
            ["docker", "pull", "--quiet", image], capture_output=True, text=True, timeout=PULL_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise UsageError(unavailable(image, f"not complete after {PULL_S:.0f} s")) from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["docker pull gave no reason"]
        raise UsageError(unavailable(image, lines[-1].strip()))


def unavailable(image: str, reason: str) -> str:
    """One line: which image, why, and what to do."""
    return (
        f"image {image} cannot be pulled: {reason}; run this where its registry can be reached, "
        f"or copy the image with docker save and docker load"
    )


def main() -> int:
    """Pull the images of the versions in KVCHAOS_GRAFANA. Returns the exit code."""
    try:
        client = connected()
        try:
            ensure_grafana_images(client, chosen_versions(os.environ))
        finally:
            client.close()
    except UsageError as error:
        sys.stderr.write(f"test-grafana: {error}\n")
        return USAGE
    return 0


if __name__ == "__main__":
    sys.exit(main())
