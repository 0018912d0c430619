"""Kinds that nobody could notice, each with the reason. Those of metric families stand in `families.py`."""

from __future__ import annotations

from collections.abc import Mapping

UNNOTICEABLE: Mapping[str, str] = {
    "events/stop-killed": "a busy machine is enough to make a stop take too long: the exit code alone proves "
    "nothing",
    "events/unclean": "the event only says whether another run may use the server; what it objects to is "
    "recorded elsewhere, and that is not altered",
    "ledger/resident": "after the last reset blocks are stored again; nothing else counts those that stay",
    "log/exception": "a server logs errors that it has handled: without a traceback the line proves nothing",
}
