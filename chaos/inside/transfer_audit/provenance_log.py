"""Which request read and stored which blocks, in a file of its own with a bound of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from chaos.inside.journal_file import RoleFile
from history.protocol.audit_records import (
    AnyProvenance,
    BlocksStored,
    LoadCached,
    LogFull,
    LogOpened,
    PrefixReused,
    TierReset,
    short_key,
)

MOST_BYTES = 32 << 20
"""About 50,000 requests that are given 20 blocks each."""


class ProvenanceLog:
    """Writes `provenance-<role>-<pid>.jsonl` in the control directory.

    All calls come from the scheduler's own thread.
    """

    def __init__(self, control: Path, role: str) -> None:
        self._file = RoleFile(control, "provenance", role)
        self._full = False
        self.block_tokens = 1
        """Tokens of a block of the device; the connector knows them."""
        self._matched: dict[str, int] = {}
        """Blocks that the prefix cache has, by request that is not scheduled yet."""
        self.all_matches = False
        """Whether a request is given all that the prefix cache has for it; the connector knows."""
        self._loading: set[str] = set()
        """Requests whose loads are not known to be in the prefix cache."""
        self._requested: list[str] = []
        """Keys requested from the tier since a request was last given blocks."""
        self._write(None, LogOpened())

    def close(self) -> None:
        """Close the file; lines after that are dropped."""
        self._file.close()

    def load_begins(self, keys: Iterable[bytes]) -> None:
        """Blocks are requested from the tier, for the request that is given its blocks next."""
        self._requested += [short_key(bytes(key)) for key in keys]

    def matched(self, request: str, tokens: int) -> None:
        """The device's prefix cache has `tokens` of a request that will look up the rest in the tier."""
        self._matched[request] = tokens // self.block_tokens

    def given(self, request: Any, blocks: Any, external_tokens: int) -> None:
        """A request has its blocks, a KVCacheBlocks; so many tokens behind those matched are loaded."""
        requested, self._requested = self._requested, []
        name = request.request_id
        device = self._matched.pop(name, None)
        if device is None:
            self._given_again(name)
            return
        loaded = -(-external_tokens // self.block_tokens)
        keys = tuple(short_key(bytes(each)) for each in request.block_hashes[: device + loaded])
        missed = self._missed(request, device)
        if not keys and missed is None:
            return
        here = blocks.get_block_ids()[0][device : device + loaded] if loaded else ()
        reused = PrefixReused(
            device=keys[:device],
            loaded=keys[device:],
            blocks=tuple(here),
            tier=() if keys[device:] == tuple(requested) else tuple(requested),
            missed=missed,
        )
        if loaded:
            self._loading.add(name)
        self._write(name, reused)

    def _given_again(self, name: str) -> None:
        """A load between steps is scheduled a second time when it has ended."""
        if name in self._loading:
            self._loading.remove(name)
            self._write(name, LoadCached())

    def _missed(self, request: Any, device: int) -> str | None:
        """The first block that the prefix cache lacked. The block of the last token is never looked up."""
        if not self.all_matches or request.skip_reading_prefix_cache:
            return None
        if device >= (request.num_tokens - 1) // self.block_tokens:
            return None
        return short_key(bytes(request.block_hashes[device]))

    def ended(self, requests: Iterable[str]) -> None:
        """These requests have ended."""
        for request in requests:
            self._matched.pop(request, None)
            self._loading.discard(request)

    def store_begins(self, request: str | None, keys: Iterable[bytes], chunks: Sequence[int]) -> None:
        """Write the keys and chunks of a store of a request; nothing for an empty one."""
        if chunks:
            self._write(
                request, BlocksStored(keys=[short_key(bytes(key)) for key in keys], chunks=list(chunks))
            )

    def reset(self) -> None:
        """The tier was emptied."""
        self._write(None, TierReset())

    def _write(self, request: str | None, event: AnyProvenance) -> None:
        if self._full:
            return
        self._file.append("provenance", {"request": request, "evidence": event})
        if self._file.written > MOST_BYTES:
            self._full = True
            self._file.append("provenance", {"request": None, "evidence": LogFull()})
