"""Options that have other names now. An old one ends a command with one line that names the new one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile

from kvchaos.errors import UsageError

_RATES = {"--in-flight": "--max-concurrency", "--client-ms": "--max-client-lag-ms"}
_BOUNDS = {"--itl-ms": "--tpot-ms", "--total-ms": "--e2el-ms"}
RENAMED_OPTIONS: Mapping[tuple[str, ...], Mapping[str, str]] = {
    ("run",): {"--join": "--listen"},
    ("oracles",): {"--prove": "--selftest"},
    ("bench", "sweep"): {**_BOUNDS, **_RATES},
    ("bench", "slo"): {**_BOUNDS, **_RATES, "--share": "--slo-fraction"},
    ("bench", "compare"): {**_BOUNDS, **_RATES},
}
"""Each old name and the name of today, by command."""


def check_options(arguments: Sequence[str]) -> None:
    """Raises UsageError for an option by its old name."""
    given = [argument.partition("=")[0] for argument in takewhile(lambda each: each != "--", arguments)]
    for command, renamed in RENAMED_OPTIONS.items():
        if tuple(given[: len(command)]) != command:
            continue
        for option in given[len(command) :]:
            if option in renamed:
                raise UsageError(f"{' '.join(command)} {option}: is named {renamed[option]} now")
