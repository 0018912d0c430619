"""Shared by the tests with real containers. A missing engine is a failure that says how to get one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from rich.console import Console

from kvchaos.errors import UsageError
from kvchaos.paths import cache_folder, state_folder
from kvchaos.servers.installation import PlainProgress
from kvchaos.servers.server_registry import ServerEnv
from kvchaos.stacks.compose.docker_engine import connect, remove_orphaned_projects
from kvchaos.stacks.compose.image_builder import ImageBuilder, ensure_images
from tests.server.bench import NEW, Bench, own_cache


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    try:
        client = connect()
    except UsageError as error:
        pytest.fail(f"the tests need a Docker engine: {error}", pytrace=False)
    yield client
    client.close()


@pytest.fixture(scope="session")
def image(engine: docker.DockerClient) -> ServerEnv:
    """The CPU server in its image, which is built when it is not there yet."""
    workshop = ImageBuilder(engine, cache_folder(), PlainProgress(Console(file=sys.__stderr__)))
    try:
        return ensure_images(workshop, "cpu", NEW, grafana=False)
    except UsageError as error:
        pytest.fail(f"the tests need the server's image: {error}", pytrace=False)


@pytest.fixture
def bench(tmp_path: Path, image: ServerEnv, engine: docker.DockerClient) -> Iterator[Bench]:
    """The user's models, records of its own; what a failed test has left up is removed."""
    made = Bench(tmp_path, own_cache(tmp_path))
    yield made
    state = state_folder(made.cache)
    for record in state.glob("*.json"):
        record.unlink()
    remove_orphaned_projects(engine, state)
