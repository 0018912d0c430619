"""The images of a project: their tags, and what they are built from. Exact tags only."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import ImageNotFound
from packaging.version import InvalidVersion, Version

from kvchaos.errors import UsageError
from kvchaos.paths import beside_packages
from kvchaos.servers.interpreters import configured_find_links
from kvchaos.servers.releases import ServerRelease, find_release
from kvchaos.stacks.device import Platform

BASE_VARIABLE = "KVCHAOS_BASE_IMAGE"
BASE = "python:3.11-slim-trixie"
SERVER_VARIABLE = "KVCHAOS_SERVER_IMAGE"
PROMETHEUS_VARIABLE = "KVCHAOS_PROMETHEUS_IMAGE"
PROMETHEUS = "prom/prometheus:v3.5.0"
GRAFANA_VARIABLE = "KVCHAOS_GRAFANA_IMAGE"
GRAFANA = "grafana/grafana:12.0.0"
GPU_SERVER = "vllm/vllm-openai"
WHEELS_VARIABLE = "KVCHAOS_WHEELS"
CERTIFICATES_VARIABLE = "KVCHAOS_CA"
CERTIFICATES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")
SYSTEM_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
DIGEST_CHARS = 12


@dataclass(frozen=True, slots=True)
class Images:
    """What a project is made of."""

    server: str
    prometheus: str
    prometheus_is_built: bool
    grafana: str


def images_of(
    platform: Platform, version: str, *, build_prometheus: bool, environ: Mapping[str, str] = os.environ
) -> Images:
    """Raises UsageError for a release that there is no image of."""
    official = environ.get(PROMETHEUS_VARIABLE) or PROMETHEUS
    ours = _built("kvchaos-prometheus:debian", "prometheus", {"BASE": base_image(environ)})
    return Images(
        server=environ.get(SERVER_VARIABLE) or _server(platform, version, environ),
        prometheus=ours if build_prometheus else official,
        prometheus_is_built=build_prometheus,
        grafana=environ.get(GRAFANA_VARIABLE) or GRAFANA,
    )


def base_image(environ: Mapping[str, str] = os.environ) -> str:
    """The base image of the CPU image, or the one of `KVCHAOS_BASE_IMAGE`."""
    return environ.get(BASE_VARIABLE) or BASE


def image_variables(images: Images) -> dict[str, str]:
    """The images as environment variables of the Compose files."""
    return {
        SERVER_VARIABLE: images.server,
        PROMETHEUS_VARIABLE: images.prometheus,
        GRAFANA_VARIABLE: images.grafana,
    }


def build_variables(release: ServerRelease, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The build arguments of the CPU server's image; also this machine's wheels and certificates."""
    return _arguments(release) | _machine(environ)


def has_image(client: docker.DockerClient, image: str) -> bool:
    """Whether the Docker engine has an image."""
    try:
        client.images.get(image)
    except ImageNotFound:
        return False
    return True


def _server(platform: Platform, version: str, environ: Mapping[str, str]) -> str:
    if platform == "cuda":
        try:
            return f"{GPU_SERVER}:v{Version(version).public}"
        except InvalidVersion as error:
            raise UsageError(
                f"--server {version}: with --stack compose-gpu give a release of vLLM"
            ) from error
    arguments = {"BASE": base_image(environ), **_arguments(find_release(version))}
    return _built(f"kvchaos-server-cpu:{version}", "cpu", arguments)


def _built(tag: str, folder: str, arguments: Mapping[str, str]) -> str:
    """The tag names what the image is built from: another recipe is another image."""
    recipe = (beside_packages("compose") / folder / "Dockerfile").read_bytes()
    digest = hashlib.sha256(recipe + json.dumps(arguments, sort_keys=True).encode()).hexdigest()
    return f"{tag}-{digest[:DIGEST_CHARS]}"


def _arguments(release: ServerRelease) -> dict[str, str]:
    return {
        "KVCHAOS_RELEASE": release.version,
        "KVCHAOS_TORCH": release.torch,
        "KVCHAOS_LEFT_OUT": " ".join(release.left_out),
        "KVCHAOS_STUB": "yes" if release.stub_distribution else "",
    }


def _machine(environ: Mapping[str, str]) -> dict[str, str]:
    links = configured_find_links(Path(sys.base_prefix, "bin", "python3"), environ)
    wheels = environ.get(WHEELS_VARIABLE) or next((link for link in links if "://" not in link), None)
    named = (environ.get(name) for name in (CERTIFICATES_VARIABLE, *CERTIFICATES))
    certificates = next(filter(None, named), None)
    if certificates is None and SYSTEM_CERTIFICATES.is_file():
        certificates = str(SYSTEM_CERTIFICATES)
    found = {WHEELS_VARIABLE: wheels, CERTIFICATES_VARIABLE: certificates}
    return {name: value for name, value in found.items() if value is not None}
