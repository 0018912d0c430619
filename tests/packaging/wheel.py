"""The wheel of this checkout, and an installation of nothing but the wheel, outside the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from uv import find_uv_bin

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "chaos",
    "compose",
    "dashboards",
    "history",
    "known_bugs",
    "kvchaos",
    "loadtests",
    "oracles",
    "scenarios",
)
"""All top-level names that the wheel installs."""
# What would let an installed command find the checkout, or another environment than its own.
FROM_THE_CHECKOUT = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTEST_ADDOPTS")
COMMAND_S = 300.0


@dataclass(frozen=True, slots=True)
class Installation:
    """An environment that holds the wheel and its dependencies. Commands run in `folder`."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "env" / "bin" / "python"

    def kvchaos(
        self, *arguments: str, cache: Path | None = None, deadline_s: float = COMMAND_S
    ) -> subprocess.CompletedProcess[str]:
        """Run the installed command. Its cache and its runs lie in `folder`; `cache` names another one."""
        own = {
            "KVCHAOS_CACHE": str(cache or self.folder / "cache"),
            "KVCHAOS_RUNS": str(self.folder / "runs"),
        }
        return subprocess.run(
            [self.python.with_name("kvchaos"), *arguments],
            cwd=self.folder,
            env=clean_environment() | own,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=deadline_s,
        )


def clean_environment() -> dict[str, str]:
    """This process's environment without the variables that lead to the checkout."""
    return {name: value for name, value in os.environ.items() if name not in FROM_THE_CHECKOUT}


def build(folder: Path) -> Path:
    """Build the source distribution and, from it alone, the wheel. Returns the wheel's path."""
    _uv("build", "--quiet", "--python", sys.executable, "--out-dir", str(folder), str(ROOT))
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Installation:
    """Install the wheel into an empty environment, with the locked versions of its dependencies."""
    installed = Installation(folder)
    locked = folder / "locked.txt"
    _uv(
        "export",
        "--quiet",
        "--frozen",
        "--no-dev",
        "--no-emit-project",
        "--no-hashes",
        "--output-file",
        str(locked),
    )
    _uv("venv", "--quiet", "--no-project", "--python", sys.executable, str(folder / "env"))
    _uv(
        "pip",
        "install",
        "--quiet",
        "--python",
        str(installed.python),
        "--constraints",
        str(locked),
        str(wheel),
    )
    return installed


def _uv(*arguments: str) -> None:
    done = subprocess.run(
        [find_uv_bin(), *arguments],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
    )
    assert done.returncode == 0, done.stderr
