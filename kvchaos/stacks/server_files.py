"""The files of a server: the part of the suite that it sees, and the log, journals and ledgers it writes."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from chaos.inside.fault_kind import FaultKind
from history import layout
from history.protocol.extensions import FAULTS, Unit, units
from kvchaos.errors import UsageError

PIECE = 1 << 20


class ServerFiles(Protocol):
    """The files of a server, as the run has them that uses it. OSError from its methods."""

    control: Path
    """Where the server looks for its schedule."""
    log: Path
    """What the server writes its log to."""

    def collect(self) -> None:
        """Bring everything that the server has written so far into the run directory."""
        ...

    def log_lines(self) -> int:
        """How many lines the run's log has now."""
        ...


class OwnFiles:
    """Files of a server that serves one run: it writes into the run directory itself."""

    def __init__(self, run_dir: Path) -> None:
        self.control = run_dir / layout.CONTROL
        self.log = run_dir / layout.SERVER_LOG

    def collect(self) -> None:
        """Nothing to do."""

    def log_lines(self) -> int:
        """Number of lines of the log."""
        return line_count(self.log)


class CollectedFiles:
    """Files of a server that serves several runs: it writes into a folder of its own.

    What it writes between two runs belongs to the later one. A journal of a run starts with the line that
    says what the module can do, a ledger with its last balance from before the run.
    """

    def __init__(self, folder: Path) -> None:
        self.control = folder / layout.CONTROL
        self.log = folder / layout.SERVER_LOG
        self._run_dir: Path | None = None
        self._copied: dict[Path, int] = {}
        """Bytes of each file that are in some run directory."""

    def begin(self, run_dir: Path) -> None:
        """Collect into this directory from now on."""
        self._run_dir = run_dir
        (run_dir / layout.CONTROL).mkdir(mode=0o755, exist_ok=True)
        self._target(self.log).touch()
        for source in self._journals():
            self._append(source, _head(source, self._copied.get(source, 0)))

    def collect(self) -> None:
        """Copy the new lines of log and journals into the run directory."""
        for source in (self.log, *self._journals()):
            self._copy(source)

    def log_lines(self) -> int:
        """Number of lines of the log in the run directory."""
        self.collect()
        return line_count(self._target(self.log))

    def journal_bytes(self) -> int:
        """Size of the longest journal or audit file; the module closes one that grows too long."""
        return max((path.stat().st_size for path in self._journals()), default=0)

    def _journals(self) -> Iterator[Path]:
        for pattern in (layout.JOURNALS, layout.LEDGERS, layout.PROVENANCE):
            yield from sorted(self.control.glob(pattern))

    def _target(self, source: Path) -> Path:
        if self._run_dir is None:
            raise RuntimeError("no run has begun")
        folder = self._run_dir if source == self.log else self._run_dir / layout.CONTROL
        return folder / source.name

    def _copy(self, source: Path) -> None:
        done = self._copied.get(source, 0)
        if not source.exists() or source.stat().st_size == done:
            return
        with source.open("rb") as file:
            file.seek(done)
            while piece := file.read(PIECE):
                self._append(source, piece)
                done += len(piece)
                self._copied[source] = done

    def _append(self, source: Path, content: bytes) -> None:
        if content:
            with self._target(source).open("ab") as target:
                target.write(content)


def line_count(path: Path) -> int:
    """How many lines a file has now; 0 when it is not there."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        return sum(1 for _ in file)


def _head(source: Path, size: int) -> bytes:
    """What a later part of a journal, ledger or provenance log needs of its first `size` bytes."""
    with source.open("rb") as file:
        lines = file.read(size).splitlines(keepends=True)
    if source.match(layout.JOURNALS):
        return b"".join(line for line in lines if _event(line) == "loaded")
    if source.match(layout.PROVENANCE):
        return b"".join(lines[:1])
    return next((line for line in reversed(lines) if _event(line) == "balance"), b"")


def _event(line: bytes) -> object:
    try:
        content = json.loads(line)
    except ValueError:
        return None  # Judging says what is wrong with it.
    return content.get("event") if isinstance(content, dict) else None


PLUGIN = "plugin"
HOSTCOPY = ("chaos/__init__.py", "chaos/hostcopy")
PLUGIN_PARTS = (*HOSTCOPY, "chaos/inside", "history/__init__.py", "history/protocol")
PLAIN_PARTS = HOSTCOPY
"""Parts for a server without the chaos module: it cannot even be imported there."""


def link_plugin(run_dir: Path, parts: tuple[str, ...]) -> Path:
    """A folder with links to these parts and no other, for a server that sees this machine's files."""
    folder = run_dir / PLUGIN
    for part in parts:
        _target(folder, part).symlink_to(_source(part))
    for source in _foreign_sources(parts):
        _target(folder, source.name).symlink_to(source)
    _write_entry_points(folder, parts)
    return folder


def copy_plugin(run_dir: Path, parts: tuple[str, ...]) -> Path:
    """A folder with a copy of these parts and no other, for a server that sees nothing but the folder."""
    folder = run_dir / PLUGIN
    for part in parts:
        _copy(_source(part), _target(folder, part))
    for source in _foreign_sources(parts):
        _copy(source, _target(folder, source.name))
    _write_entry_points(folder, parts)
    return folder


def foreign_faults() -> list[Unit]:
    """The faults inside the server that other packages bring."""
    return [unit for unit in units(FAULTS) if isinstance(unit.value, FaultKind)]


def _foreign_sources(parts: tuple[str, ...]) -> list[Path]:
    """The packages of these faults, or their modules, where the server has the chaos module."""
    if parts != PLUGIN_PARTS:
        return []
    return [_foreign_source(name) for name in sorted({_top_level(unit) for unit in foreign_faults()})]


def _top_level(unit: Unit) -> str:
    return unit.reference.partition(":")[0].partition(".")[0]


def _foreign_source(package: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise UsageError(f"the package {package} has no source that a server could load")
    path = Path(found.origin).resolve()
    return path.parent if path.name == "__init__.py" else path


def _write_entry_points(folder: Path, parts: tuple[str, ...]) -> None:
    """What an installer writes of the faults of other packages: the server finds them as the suite does."""
    found = foreign_faults() if parts == PLUGIN_PARTS else []
    if not found:
        return
    metadata = folder / "kvchaos_units-0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: kvchaos-units\nVersion: 0\n")
    references = sorted({unit.reference for unit in found})
    lines = [f"unit{number} = {reference}\n" for number, reference in enumerate(references)]
    (metadata / "entry_points.txt").write_text(f"[{FAULTS}]\n{''.join(lines)}")


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copyfile(source, target)


def _target(folder: Path, part: str) -> Path:
    target = folder / part
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _source(part: str) -> Path:
    package, _, rest = part.partition("/")
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise UsageError(f"the package {package} is missing: install kvchaos again")
    return Path(found.submodule_search_locations[0]).resolve() / rest
