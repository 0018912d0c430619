"""Files that people write in YAML, read into strict types."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from history.strict_yaml import BadYaml, Value, first_problem, load_yaml
from kvchaos.errors import UsageError

Model = TypeVar("Model")


def read_model(path: Path, parse: Callable[[Value], Model]) -> Model:
    """What a file holds. `parse` raises ValidationError. Raises UsageError with file, key and problem."""
    try:
        return parse(load_yaml(path))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except BadYaml as error:
        raise UsageError(str(error)) from error
    except ValidationError as error:
        raise UsageError(f"{path}: {first_problem(error)}") from error
