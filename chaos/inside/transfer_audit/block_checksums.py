"""Checksums of blocks: a copy must deliver the content that its source had when it began."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from chaos.hostcopy.tier import Plane
from chaos.inside.process_globals import AUDIT_KEY
from chaos.inside.transfer_audit.audit_log import AuditLog
from history.protocol import audit_records as rules
from history.protocol.audit_records import Violation


class BlockChecksums:
    """Checksums of blocks at both ends of each copy. Costs a pass over every block copied."""

    def __init__(self, audit: AuditLog, device: Sequence[Plane], tier: Sequence[Plane]) -> None:
        self._audit = audit
        self._device = device
        self._tier = tier
        self._stored: dict[int, int] = {}
        """Checksum of each block of the tier when its store had ended."""
        self._begun: dict[int, list[int]] = {}
        """Checksums of a job's source when it began."""

    def store_begins(self, job: int, device: Sequence[int]) -> None:
        """Remember the checksums of the device's blocks at the begin of a store."""
        self._begun[job] = sums_of(self._device, device)

    def load_begins(self, job: int, tier: Sequence[int]) -> None:
        """Compare the tier's blocks with what was stored, at the begin of a load."""
        found = self._begun[job] = sums_of(self._tier, tier)
        for block, now in zip(tier, found, strict=True):
            self._compare(rules.CHANGED_IN_TIER, job, block, self._stored.get(block), now)

    def store_ends(self, job: int, tier: Sequence[int]) -> None:
        """Compare both ends of a store. Call it before anything else can write to the blocks."""
        sums = sums_of(self._tier, tier)
        for block, before, now in zip(tier, self._begun.pop(job), sums, strict=True):
            self._compare(rules.CHANGED_WHILE_STORED, job, block, before, now)
            self._stored[block] = now

    def load_ends(self, job: int, device: Sequence[int]) -> None:
        """Compare the device's blocks with what the tier had at the begin of the load."""
        for block, before, now in zip(
            device, self._begun.pop(job), sums_of(self._device, device), strict=True
        ):
            self._compare(rules.CHANGED_WHILE_LOADED, job, block, before, now)

    def damaged(self, tier: Sequence[int]) -> None:
        """A fault of ours changed these blocks of the tier: that is no finding."""
        self._stored.update(zip(tier, sums_of(self._tier, tier), strict=True))

    def _compare(self, rule: str, job: int, block: int, before: int | None, now: int) -> None:
        """`before` is None for a block that no store of this process wrote."""
        self._audit.audited += 1
        if before != now:
            self._audit.violation(rule, Violation(job=job, block=block, before=before, now=now))


def sums_of(planes: Sequence[Plane], blocks: Sequence[int]) -> list[int]:
    """CRC-32 of each block over all planes, in their order."""
    return [_sum(planes, block) for block in blocks]


def _sum(planes: Sequence[Plane], block: int) -> int:
    found = 0
    for plane in planes:
        content: Any = plane.bytes_of(block).cpu().numpy()
        found = zlib.crc32(content, found)
    return found


def checksums_of(
    extra_config: Mapping[str, object],
    audit: AuditLog,
    device: Sequence[Plane],
    tier: Sequence[Plane] | None,
) -> BlockChecksums | None:
    """None unless audit mode is on. Raises ValueError where the tier is not known."""
    if extra_config.get(AUDIT_KEY) is not True:
        return None
    if tier is None:
        raise ValueError(f"{AUDIT_KEY}: the tier of this worker is not known")
    return BlockChecksums(audit, device, tier)
