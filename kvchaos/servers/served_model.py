"""The model that a server serves, as the plan of a run describes it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kvchaos.errors import UsageError
from kvchaos.paths import models_folder
from kvchaos.servers import tiny_model
from kvchaos.servers.gpu_arguments import cache_number_bytes, gpu_args
from kvchaos.servers.model_size import kv_token_bytes

MODEL_VARIABLE = "KVCHAOS_MODEL"
TINY_MODEL_VARIABLE = "KVCHAOS_TINY_MODEL"
"""For tests: a folder with a model to serve in place of the tiny one."""
REVISION_VARIABLE = "KVCHAOS_MODEL_REVISION"
HUB_MODEL = "Qwen/Qwen3-0.6B"
"""Small and without a licence to accept; 1.2 GB to fetch."""
HUB_MODEL_NUMBER_BYTES = 2
HUB_MODEL_TOKEN_BYTES = 2 * 28 * 8 * 128 * HUB_MODEL_NUMBER_BYTES
"""Keys and values, layers, KV heads, head size, bfloat16."""
REVISION = "main"


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One model."""

    name: str
    """Value of `--model`: a folder that the server sees, or a name on the hub."""
    fingerprint: str
    """SHA-256 of its files, or name and revision."""
    token_bytes: int | None
    """KV cache bytes that one token takes; None when that is not known."""
    revision: str | None = None
    """Revision on the hub."""


def tiny(folder: Path) -> ServedModel:
    """The tiny model, or the one in its place. `folder` holds its files."""
    return ServedModel(str(folder), tiny_model.fingerprint(folder), _token_bytes(folder))


def tiny_folder(cache: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of the tiny model, made when missing, or of the model in its place. Raises UsageError."""
    given = environ.get(TINY_MODEL_VARIABLE)
    if not given:
        return tiny_model.ensure_model(models_folder(cache))
    if not (Path(given) / "config.json").is_file():
        raise UsageError(f"{TINY_MODEL_VARIABLE}={given}: has no config.json; give the folder of a model")
    return Path(given).absolute()


def hub_model(environ: Mapping[str, str] = os.environ) -> ServedModel:
    """The model that $KVCHAOS_MODEL names, by a folder maybe; else a small one. Nothing is fetched yet.

    Raises UsageError for arguments that $KVCHAOS_GPU_ARGS cannot have.
    """
    name = environ.get(MODEL_VARIABLE) or HUB_MODEL
    number_bytes = cache_number_bytes(gpu_args(environ))
    if Path(name).is_absolute():
        return ServedModel(name, name, _token_bytes(Path(name), number_bytes))
    revision = environ.get(REVISION_VARIABLE) or REVISION
    known = HUB_MODEL_TOKEN_BYTES if name == HUB_MODEL else None
    if known is not None and number_bytes is not None:
        known = known // HUB_MODEL_NUMBER_BYTES * number_bytes
    fetched = snapshot(hub_folder(environ), name, revision)
    token_bytes = _token_bytes(fetched, number_bytes) if fetched else None
    return ServedModel(name, f"{name}@{revision}", token_bytes or known, revision)


def hub_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Folder of models from the hub: $HF_HOME, otherwise ~/.cache/huggingface; it may not exist yet."""
    return Path(environ.get("HF_HOME") or "~/.cache/huggingface").expanduser().absolute()


def snapshot(hub: Path, name: str, revision: str) -> Path | None:
    """The folder of a model that was fetched before; None without one."""
    kept = hub / "hub" / f"models--{name.replace('/', '--')}"
    try:
        return kept / "snapshots" / (kept / "refs" / revision).read_text().strip()
    except OSError:
        return None


def _token_bytes(folder: Path, number_bytes: int | None = None) -> int | None:
    """Bytes of a token by the model's own configuration, if it has all values."""
    try:
        return kv_token_bytes(json.loads((folder / "config.json").read_bytes()), number_bytes)
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return None
