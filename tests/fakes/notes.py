"""A sink for what a client says of a request."""

from __future__ import annotations

from dataclasses import dataclass, field

from history.records import RequestRecord


@dataclass
class Notes:
    """A sink that keeps what it is told."""

    records: list[RequestRecord] = field(default_factory=list)
    token_counts: list[int] = field(default_factory=list)

    def tokens(self, count: int) -> None:
        self.token_counts.append(count)

    def ended(self, record: RequestRecord) -> None:
        self.records.append(record)
