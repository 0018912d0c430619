"""The scale of a run, and the pressure that it puts on the server's caches, as `run.yaml` has them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from history.strict_model import Strict

ScaleName = Literal["tiny", "small", "workstation", "accelerator", "node"]
"""tiny: as scenario files say. small: a CPU with time. Then one card, one large card, several cards."""


class CachePressure(Strict):
    """How hard a scenario presses on the caches, whatever the size of the server.

    The working set are the tokens of all prompts, those of a common prefix counted once.
    """

    working_set_over_device: float = Field(ge=0)
    """Tokens of the working set, over the tokens that fit on the device."""
    working_set_over_caches: float | None = Field(default=None, ge=0)
    """The same, over the tokens that fit on the device and in the offload tier; None without offloading."""
    streams_over_fit: float = Field(ge=0)
    """The most requests in flight, over the requests of mean length that fit on the device."""
    prompt_share: float = Field(ge=0)
    """Mean length of a prompt, over the longest context."""
    answer_share: float = Field(ge=0)
    """Mean longest answer, over the longest context."""
    chunks: float = Field(ge=0)
    """Steps that the prefill of a mean prompt takes at least."""
    returning_share: float = Field(ge=0, le=1)
    """Share of the tokens of prompts that an earlier request of the run sent in the same prefix."""


def pressure_text(pressure: CachePressure) -> str:
    """The pressure in one line, for people."""
    caches = pressure.working_set_over_caches
    return (
        f"working set {pressure.working_set_over_device:g} x the device"
        + ("" if caches is None else f", {caches:g} x device and tier")
        + f"; {pressure.streams_over_fit:g} x the streams that fit; {pressure.chunks:g} prefill chunks a "
        f"prompt; {pressure.returning_share:.0%} of the prompt tokens return"
    )


class Scaling(Strict):
    """How a scenario was made larger. Plans of the scale `tiny` have none: they are as the file says."""

    scale: ScaleName
    lengths: int = Field(ge=1)
    """Lengths in tokens are so many times those of the file."""
    width: int = Field(ge=1)
    """Requests, distinct prompts and concurrency are so many times those of the file."""
    limited_by: str
    """Why they are not larger."""
    pressure: CachePressure
    arithmetic: tuple[str, ...]
    """From the card, the model and the host to blocks, tier and streams, a line a step."""
