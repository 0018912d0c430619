"""The files in which a triage leaves its results."""

from __future__ import annotations

from pathlib import Path

import msgspec

from kvchaos.errors import UsageError


def result_path(given: Path | None, default: Path) -> Path:
    """The absolute path of a result. Raises UsageError at once for a folder that does not exist."""
    path = (given or default).absolute()
    if not path.parent.is_dir():
        raise UsageError(f"--out {path}: there is no folder {path.parent}")
    return path


def write_text_file(path: Path, text: str) -> None:
    """Raises UsageError."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error


def write_json_file(path: Path, result: msgspec.Struct) -> None:
    """Indented, for people and programs. Raises UsageError."""
    text = msgspec.json.format(msgspec.json.encode(result), indent=2).decode()
    write_text_file(path, f"{text}\n")
