"""Where a program that this machine lacks is obtained from, without root, and the script that starts it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from string import Template

from uv import find_uv_bin

from kvchaos.servers import debian
from kvchaos.servers.installation import CommandFailed, Runner
from kvchaos.servers.interpreters import configured_find_links
from kvchaos.tools.tool import MB, PROGRAMS, ROOT, PackageRecord, Tool, ToolRecord, size_of
from loadtests.child_process import logged_child

SCRIPT = Template("""\
#!/bin/sh
# Starts an unpacked program with the libraries that were unpacked with it.
folder=$$(dirname "$$(dirname "$$(readlink -f "$$0")")")
root=$$folder/$root
$settings
exec "$$root/$program" "$$@"
""")
LIBRARY_PATH = Template('export LD_LIBRARY_PATH="$libraries$${LD_LIBRARY_PATH:+:$$LD_LIBRARY_PATH}"')
FONTS = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
<dir>/usr/share/fonts</dir>
<dir prefix="relative">{root}/usr/share/fonts</dir>
<cachedir prefix="xdg">fontconfig</cachedir>
<include ignore_missing="yes">/etc/fonts/fonts.conf</include>
</fontconfig>
"""
FONTS_FILE = "fonts.conf"


def write_wrapper(folder: Path, name: str, program: str) -> None:
    """Write `bin/NAME` in `folder`, which starts `program`, a path below `root` there. Raises OSError."""
    root = folder / ROOT
    settings = []
    if libraries := library_folders(root):
        joined = ":".join(f"$root/{path.relative_to(root)}" for path in libraries)
        settings.append(LIBRARY_PATH.substitute(libraries=joined))
    if libraries and (root / "usr/share/fonts").is_dir():
        (folder / FONTS_FILE).write_text(FONTS.format(root=ROOT))
        settings.append(f'export FONTCONFIG_FILE="$folder/{FONTS_FILE}"')
    path = folder / PROGRAMS / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(SCRIPT.substitute(root=ROOT, settings="\n".join(settings), program=program))
    path.chmod(0o755)


def library_folders(root: Path) -> list[Path]:
    """Folders of shared libraries below an unpacked root, the nearest to the top first.

    Only those of a machine type, such as usr/lib/x86_64-linux-gnu, and what is below: a program finds
    the libraries of its own folder by itself.
    """
    tops = [root / lib for lib in ("lib", "usr/lib") if not (root / lib).is_symlink()]
    types = [path for top in tops for path in top.glob("*-linux-*")]
    found = {path.parent for folder in types for path in folder.rglob("lib*.so*")}
    return sorted(found, key=lambda path: (len(path.parts), path))


PLAYWRIGHT_LIMIT_S = 300.0
CONNECT_LIMIT_S = 10
TRIAL_LIMIT_S = 60.0
BROWSER_FILES = ("headless_shell", "chrome-headless-shell")
SYSTEM_PACKAGES = ("libc6",)
"""They stay the system's: a C library works only with its own loader."""


class SourceUnavailable(Exception):
    """This source does not have the program for this machine; the message gives the reason."""


class NotOffered(Exception):
    """This source never has the program, on no machine."""


Source = Callable[[Tool, Path, Runner], ToolRecord]
"""Puts a tool into an empty folder: `root` with what was unpacked, and scripts in `bin` that start the
programs. Raises NotOffered, NotHere, CommandFailed and OSError."""


def all_sources(scratch: Path) -> dict[str, Source]:
    """The sources by name, in the order in which they are tried; `scratch` is for their own files."""
    return {
        "Playwright": from_playwright,
        "apt": AptSource(scratch / "apt"),
        "package index": from_package_index,
    }


class AptSource:
    """Debian's packages. The lists of packages are fetched once, with the first tool."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._apt: debian.Apt | None = None

    def __call__(self, tool: Tool, draft: Path, runner: Runner) -> ToolRecord:
        """Unpack the tool's package and its missing dependencies. Raises SourceUnavailable."""
        if not tool.package:
            raise NotOffered
        if not debian.can_fetch():
            raise SourceUnavailable("no apt-get and dpkg-deb on this machine")
        apt, report_step = self._updated(tool, runner), runner.progress.step
        packages = apt.closure(tool.package)
        main = next((one for one in packages if one.name == tool.package), None)
        if main is None:
            raise SourceUnavailable(
                f"the package {tool.package} is installed, but its program is not on the PATH"
            )
        total = sum(one.size for one in packages) / MB
        report_step(f"{tool.title} {main.version}: downloading {len(packages)} packages, {total:.0f} MB")
        archives = apt.download_closure(tool.package, packages)
        report_step(f"{tool.title} {main.version}: unpacking")
        root = draft / ROOT
        for package, archive in archives:
            if package.name not in SYSTEM_PACKAGES:
                apt.unpack(archive, root)
        for name, program in tool.programs:
            if not (root / program).is_file():
                raise SourceUnavailable(f"the package {tool.package} {main.version} has no {program}")
            write_wrapper(draft, name, program)
        records = tuple(
            PackageRecord(name=one.name, version=one.version, size=one.size, sha256=one.sha256)
            for one in packages
        )
        return ToolRecord(
            tool=tool.name, version=main.version, source="apt", unpacked=size_of(root), packages=records
        )

    def _updated(self, tool: Tool, runner: Runner) -> debian.Apt:
        if self._apt is None:
            runner.progress.step(f"{tool.title}: fetching the lists of packages")
            apt = debian.Apt(self._work, runner)
            apt.update()
            self._apt = apt
        return self._apt


def from_playwright(tool: Tool, draft: Path, runner: Runner) -> ToolRecord:
    """Playwright's own download of Chromium. It comes without the libraries that it needs."""
    if tool.name != "chromium":
        raise NotOffered
    if importlib.util.find_spec("playwright") is None:
        raise SourceUnavailable("the Python package is not installed")
    runner.progress.step(f"{tool.title}: downloading with Playwright")
    root = draft / ROOT
    root.mkdir()
    try:
        _download_browser(root, runner)
    except CommandFailed as error:
        raise SourceUnavailable(f"its download failed ({error.last_line})") from error
    found = next((path for name in BROWSER_FILES for path in sorted(root.rglob(name))), None)
    if found is None:
        raise SourceUnavailable("downloaded no headless Chromium")
    write_wrapper(draft, tool.name, str(found.relative_to(root)))
    version = runner.run([found, "--version"], os.environ)[0].split()[-1]
    return ToolRecord(tool=tool.name, version=version, source="Playwright", unpacked=size_of(root))


def _download_browser(root: Path, runner: Runner) -> None:
    settings = {
        "PLAYWRIGHT_BROWSERS_PATH": str(root),
        "PLAYWRIGHT_DOWNLOAD_CONNECTION_TIMEOUT": str(CONNECT_LIMIT_S * 1000),
    }
    command = [sys.executable, "-m", "playwright", "install", "--only-shell", "chromium"]
    run_limited(command, {**os.environ, **settings}, PLAYWRIGHT_LIMIT_S, runner)


def from_package_index(tool: Tool, draft: Path, runner: Runner) -> ToolRecord:
    """An environment of its own with the tool's Python package. It stays whole when its folder is renamed."""
    if not tool.requirement:
        raise NotOffered
    version = tool.requirement.partition("==")[2]
    runner.progress.step(f"{tool.title} {version}: installing into an environment of its own")
    uv, root = find_uv_bin(), draft / ROOT
    runner.run([uv, "venv", "--no-project", "--relocatable", "--python", sys.executable, root], os.environ)
    links = (("--find-links", link) for link in configured_find_links(Path(sys.executable)))
    runner.run(
        [
            uv,
            "pip",
            "install",
            "--python",
            root / "bin/python",
            *chain.from_iterable(links),
            tool.requirement,
        ],
        # The machine's own certificates: behind a company's proxy no others will do.
        {"UV_SYSTEM_CERTS": "1", **os.environ},
    )
    for name, program in tool.programs:
        write_wrapper(draft, name, program)
    return ToolRecord(tool=tool.name, version=version, source="package index", unpacked=size_of(root))


def try_out(tool: Tool, folder: Path, runner: Runner) -> None:
    """Start the program that was put into a folder. Raises CommandFailed when it does not work."""
    with tempfile.TemporaryDirectory(prefix="home-", dir=runner.folder) as home:
        # Chromium writes a profile.
        environment = {**os.environ, "HOME": home, "XDG_CONFIG_HOME": home, "XDG_CACHE_HOME": home}
        program = folder / "bin" / tool.name
        run_limited([str(program), *tool.trial], environment, TRIAL_LIMIT_S, replace(runner, folder=folder))


def run_limited(command: list[str], environment: dict[str, str], limit_s: float, runner: Runner) -> None:
    """Run a program with all output in the log; its whole process group is ended after `limit_s`.

    Raises CommandFailed.
    """
    with runner.log.open("ab") as log:
        log.write(f"$ {' '.join(command)}\n".encode())
        log.flush()
        start = log.tell()
        fds = () if runner.lock is None else (runner.lock,)
        with logged_child(command, log, cwd=runner.folder, environment=environment, pass_fds=fds) as process:
            try:
                process.wait(limit_s)
            except subprocess.TimeoutExpired as error:
                raise CommandFailed(Path(command[0]).name, -9, f"ended after {limit_s:.0f} s") from error
    if process.returncode != 0:
        raise CommandFailed(Path(command[0]).name, process.returncode, _error_in(runner.log, start))


def _error_in(log: Path, start: int) -> str:
    """The line that says what went wrong: the last one with an error, else the last one."""
    lines = [line.strip() for line in log.read_bytes()[start:].decode(errors="replace").splitlines()]
    errors = [line for line in lines if "error" in line.lower() and not line.endswith("caused by")]
    return next(reversed(errors or [line for line in lines if line]), "no output")
