"""The limit of open files: each connection is one, and an account's soft limit is often 1,024.

Every process that opens many connections calls `raise_soft_limit` first; children inherit what it reached.
"""

from __future__ import annotations

import resource

ENOUGH = 65_536
"""The soft limit is raised to this value unless a caller needs more."""
SPARE = 128
"""Files of a process of ours beside its connections: pipes, logs, records, libraries."""


class TooFewFiles(Exception):
    """The hard limit is too low. The message is one line: both figures, and what to do."""


def raise_soft_limit(least: int = 0) -> int | None:
    """Raise this process's soft limit as far as the hard one allows, to `ENOUGH` or `least`; never lower it.

    Returns the soft limit, None when there is none. A refusal of the kernel leaves it as it was.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = target(soft, hard, least)
    if wanted != soft:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            # Above fs.nr_open, or refused by a sandbox. What is needed is compared with what is there.
            wanted = soft
    return None if wanted == resource.RLIM_INFINITY else wanted


def target(soft: int, hard: int, least: int) -> int:
    """The soft limit to ask for."""
    if soft == resource.RLIM_INFINITY:
        return soft
    wanted = max(soft, ENOUGH, least)
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def require(files: int, what: str) -> None:
    """Raise the soft limit to what `what` needs. Raises TooFewFiles when that cannot be."""
    reached = raise_soft_limit(files)
    if reached is not None and reached < files:
        raise TooFewFiles(shortage(files, reached, what))


def shortage(files: int, limit: int, what: str) -> str:
    """One line: what needs how many files, how many are allowed, and how to allow more."""
    return (
        f"open files: {what} needs {files:,}, the hard limit is {limit:,}; raise it for this shell with: "
        f"sudo prlimit --pid $$ --nofile={files}:{files} (see docs/limits.md), or lower the concurrency"
    )
