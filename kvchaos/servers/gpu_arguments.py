"""Arguments that the user adds to the command of every vLLM server on a GPU."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence

from kvchaos.errors import UsageError

GPU_ARGS_VARIABLE = "KVCHAOS_GPU_ARGS"
CACHE_DTYPE = "--kv-cache-dtype"
CACHE_NUMBER_BYTES = {
    "auto": None,
    "bfloat16": 2,
    "float16": 2,
    "fp8": 1,
    "fp8_e4m3": 1,
    "fp8_e5m2": 1,
}
"""Bytes of a number in the KV cache; None: as the model has them."""


def gpu_args(environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The arguments. Raises UsageError."""
    text = environ.get(GPU_ARGS_VARIABLE, "")
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError(f"{GPU_ARGS_VARIABLE} is {text!r}: {error}; write it as in a shell") from error


def flag_of(argument: str) -> str:
    """The flag of `--flag=value`, as vLLM spells it."""
    return argument.partition("=")[0].replace("_", "-")


def cache_number_bytes(arguments: Sequence[str]) -> int | None:
    """Bytes of a number in the KV cache; None: as the model has them. Raises UsageError."""
    wanted = "auto"
    for wanted in _values(arguments, CACHE_DTYPE):
        if wanted not in CACHE_NUMBER_BYTES:
            known = ", ".join(CACHE_NUMBER_BYTES)
            raise UsageError(f"{GPU_ARGS_VARIABLE}: size of {CACHE_DTYPE} {wanted} is unknown; use {known}")
    return CACHE_NUMBER_BYTES[wanted]


def _values(arguments: Sequence[str], flag: str) -> Iterator[str]:
    for position, argument in enumerate(arguments):
        if flag_of(argument) == flag:
            _, separate, value = argument.partition("=")
            yield value if separate else "".join(arguments[position + 1 : position + 2])
