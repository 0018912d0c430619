"""Reading and writing the results of the matrix: strict, each file whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import msgspec
from packaging.version import Version

from history.jsonl import one_line
from kvchaos.errors import UsageError
from kvchaos.matrix.cell import Results
from kvchaos.servers.releases import TABLE

_RESULTS = msgspec.json.Decoder(Results)


def results_file(folder: Path, release: str) -> Path:
    return folder / f"{release}.json"


def read_results(folder: Path, release: str) -> Results:
    """What is kept of a release; nothing yet where there is no file. Raises UsageError for a damaged file."""
    path = results_file(folder, release)
    try:
        results = _RESULTS.decode(path.read_bytes())
    except FileNotFoundError:
        return Results(release=release)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _damaged(path, one_line(error)) from error
    if problem := _problem(results, release):
        raise _damaged(path, problem)
    return results


def read_all(folder: Path) -> list[Results]:
    """All releases that have a file, oldest first. Raises UsageError."""
    found = sorted(path.stem for path in folder.glob("*.json"))
    for name in found:
        if name not in TABLE:
            raise _damaged(results_file(folder, name), f"{name} is no release that can be installed")
    return [read_results(folder, release) for release in sorted(found, key=Version)]


def write_results(folder: Path, results: Results) -> None:
    """Replace the file of a release in one step. Raises UsageError."""
    path = results_file(folder, results.release)
    text = msgspec.json.format(msgspec.json.encode(results), indent=1)
    write_whole(path, text + b"\n")


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file in one step: whoever reads it finds the old or the new one. Raises UsageError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def _problem(results: Results, release: str) -> str | None:
    names = [cell.scenario for cell in results.cells]
    if results.release != release:
        return f"release: {results.release} is in the file of {release}"
    if names != sorted(set(names)):
        return "cells: they are not sorted by scenario, or a scenario is there twice"
    return None


def _damaged(path: Path, problem: str) -> UsageError:
    return UsageError(f"{path}: {problem}; correct the file, or remove it: its cells are run again then")
