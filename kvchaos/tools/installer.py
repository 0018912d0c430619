"""Install a program: use the one of this machine, else the first source that yields one that works."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kvchaos.errors import UsageError
from kvchaos.paths import cache_folder, tools_folder
from kvchaos.servers.installation import CommandFailed, InstallProgress, Runner, exclusive
from kvchaos.tools.sources import NotOffered, Source, SourceUnavailable, all_sources, try_out
from kvchaos.tools.tool import Tool, named_or_on_path, read_record, tool_in_cache, write_record

LOCK = ".lock"
LOG = "install.log"
DRAFTS = ".draft"


@dataclass(frozen=True, slots=True)
class InstallResult:
    """The result of installing one tool."""

    tool: Tool
    path: Path | None
    """None: the program cannot be obtained."""
    note: str
    """Where it came from, or why there is none."""

    def line(self) -> str:
        """The result in one line."""
        if self.path is None:
            return f"{self.tool.title}: missing: {self.note}; {self.tool.how_to_install}"
        return f"{self.tool.title}: {self.note}: {self.path}"


def existing_tool(tool: Tool, environ: Mapping[str, str]) -> InstallResult | None:
    """The program that this machine has already; None when it must be obtained. Raises UsageError."""
    if named := environ.get(tool.variable):
        found = named_or_on_path(environ, tool)
        note = f"named by {tool.variable}" if found else f"{tool.variable}: {named} is not a program"
        return InstallResult(tool, found, note)
    if found := named_or_on_path(environ, tool):
        return InstallResult(tool, found, "on the PATH")
    record = read_record(_folder(tool, environ), tool)
    if record is None:
        return None
    return InstallResult(tool, tool_in_cache(environ, tool), record.summary())


def install_tools(
    tools: Sequence[Tool],
    environ: Mapping[str, str],
    progress: InstallProgress,
    sources: Callable[[Path], Mapping[str, Source]] = all_sources,
) -> list[InstallResult]:
    """Put each tool into the cache from the first source that yields a program that starts.

    Two calls at once are safe: the second waits for the first and takes what it obtained. Raises UsageError.
    """
    folder = tools_folder(cache_folder(environ))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive(folder / LOCK, lambda: progress.step("waiting for another installation")) as lock:
            drafts = folder / DRAFTS
            # What an interrupted installation left.
            shutil.rmtree(drafts, ignore_errors=True)
            drafts.mkdir()
            try:
                tried = sources(drafts)
                runner = Runner(progress, drafts, folder / LOG, lock)
                return [
                    existing_tool(tool, environ) or _install(tool, environ, tried, runner) for tool in tools
                ]
            finally:
                shutil.rmtree(drafts, ignore_errors=True)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror}") from error


def _install(
    tool: Tool, environ: Mapping[str, str], sources: Mapping[str, Source], runner: Runner
) -> InstallResult:
    reasons = []
    for name, source in sources.items():
        try:
            _install_from(source, tool, _folder(tool, environ), runner)
        except NotOffered:
            continue
        except (SourceUnavailable, CommandFailed, OSError) as error:
            reasons.append(f"{name}: {error}")
            continue
        if (there := existing_tool(tool, environ)) is not None:
            return there
    return InstallResult(tool, None, f"{'; '.join(reasons)} (see {runner.log})")


def _install_from(source: Source, tool: Tool, folder: Path, runner: Runner) -> None:
    """Make the folder in a draft, and rename it once the program starts."""
    draft = runner.folder / tool.name
    draft.mkdir()
    try:
        record = source(tool, draft, runner)
        runner.progress.step(f"{tool.title} {record.version}: checking that it starts")
        try_out(tool, draft, runner)
        write_record(draft, record)
        if folder.exists():
            shutil.rmtree(folder)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _folder(tool: Tool, environ: Mapping[str, str]) -> Path:
    return tools_folder(cache_folder(environ)) / tool.name
