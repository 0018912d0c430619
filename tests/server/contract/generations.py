"""Which generation of the plug-in API each release has, from vLLM's releases themselves."""

from __future__ import annotations

from packaging.version import Version

MINORS: dict[str, tuple[int, ...]] = {
    "G1": (16, 17),
    "G2": (18,),
    "G3": (19,),
    "G4": (20,),
    "G5": (21, 22),
    "G6": (23, 24),
    "G7": (25,),
    "G8": (26, 27, 28, 29, 30, 31, 32),
    "G9": (33,),
}
"""Minor releases of 0.x."""

ONE_OF_EACH = ("0.16.0", "0.18.0", "0.19.1", "0.20.2", "0.22.1", "0.24.0", "0.25.1", "0.32.0")
"""A release of each generation that can be installed."""


def generation_of(release: str) -> str:
    """The generation's name. Raises KeyError for a release that is not in the table."""
    version = Version(release)
    for name, minors in MINORS.items():
        if version.major == 0 and version.minor in minors:
            return name
    raise KeyError(release)
