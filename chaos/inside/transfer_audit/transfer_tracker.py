"""Transfers that begin and must each end exactly once."""

from __future__ import annotations

import time

Name = int | str
MAX_OLDEST_NAMES = 5
"""How many names of open transfers a balance lists."""


class TransferTracker:
    """Counts transfers that began and ended. Several of one name may be open at a time."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0
        self.dropped = 0
        """Transfers that the server discarded by a reset; included in `begun`."""
        self._longest: tuple[int, int] | None = None
        self._open: dict[Name, list[int]] = {}
        """When each began, nanoseconds since the epoch."""

    def begin(self, name: Name) -> None:
        self.begun += 1
        self._open.setdefault(name, []).append(time.time_ns())

    def end(self, name: Name) -> bool:
        """End the oldest of this name; False when none is open."""
        since = self._open.get(name)
        if since is None:
            return False
        began = since.pop(0)
        if not since:
            del self._open[name]
        self.ended += 1
        lasted = time.time_ns() - began
        if self._longest is None or lasted > self._longest[1]:
            self._longest = began, lasted
        return True

    def take_longest(self) -> tuple[int, int] | None:
        """Begin and duration of the longest transfer that ended since the last call, nanoseconds."""
        longest, self._longest = self._longest, None
        return longest

    def drop_all(self) -> None:
        self.dropped += self.count()
        self._open.clear()

    def is_open(self, name: Name) -> bool:
        return name in self._open

    def count(self) -> int:
        return self.begun - self.ended - self.dropped

    def oldest(self) -> tuple[int | None, list[str]]:
        """When the oldest open transfer began (None: none is open), and a few names, oldest first.

        Another thread than the server's may call this: the entries are copied in one step.
        """
        entries = list(self._open.items())
        dated = sorted((since[0], str(name)) for name, since in entries if since)
        return (dated[0][0] if dated else None), [name for _, name in dated[:MAX_OLDEST_NAMES]]
