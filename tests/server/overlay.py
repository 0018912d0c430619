"""Asks the contract of a vLLM whose CPU wheel is not out: its Python code over a release's compiled parts.

    pip download --no-deps vllm==0.33.0
    python -m tests.server.overlay vllm-0.33.0-cp38-abi3-manylinux_2_28_x86_64.whl --over 0.32.0

That is enough to ask the plug-in API. No server is started so: compiled parts and Python code differ.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from zipfile import ZipFile

from packaging.utils import parse_wheel_filename
from packaging.version import Version

from kvchaos.paths import cache_folder
from kvchaos.servers.server_registry import ServerEnv, find_server
from tests.server.contract.answers import run_checks, troubles
from tests.server.contract.generations import generation_of
from tests.server.contract.listed import CHECKS


def main() -> int:
    """Put an own vLLM wheel over an installed release."""
    parser = argparse.ArgumentParser()
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--over", required=True, help="installed release")
    arguments = parser.parse_args()
    version = parse_wheel_filename(arguments.wheel.name)[1]
    server = find_server(arguments.over, cache_folder())
    with tempfile.TemporaryDirectory() as folder:
        lay(arguments.wheel, version, server, Path(folder))
        found = troubles(run_checks(server, ahead=Path(folder)), generation_of(str(version)))
    sys.stdout.write("\n".join([*found, f"{version}: {len(CHECKS)} checks, {len(found)} troubles"]) + "\n")
    return int(bool(found))


def lay(wheel: Path, version: Version, server: ServerEnv, folder: Path) -> None:
    """Make a package `vllm` in this folder, and the metadata that tells it that it runs on a CPU."""
    [package] = server.python.parent.parent.glob("lib/python*/site-packages/vllm")
    for path in package.rglob("*"):
        if path.is_file() and path.suffix not in (".py", ".pyc"):
            link = folder / "vllm" / path.relative_to(package)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    with ZipFile(wheel) as content:
        sources = [name for name in content.namelist() if name.startswith("vllm/") and name.endswith(".py")]
        content.extractall(folder, sources)
    metadata = folder / f"vllm-{version}+cpu.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n")


if __name__ == "__main__":
    sys.exit(main())
