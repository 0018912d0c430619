"""Recorded traffic: one file a format, each line an entry; `file` reads them in bounded memory."""

from __future__ import annotations

from loadtests.traces import azure, burstgpt, mooncake, own
from loadtests.traces.entry import Format

FORMATS: dict[str, Format] = {
    "azure": azure.FORMAT,
    "burstgpt": burstgpt.FORMAT,
    "mooncake": mooncake.FORMAT,
    "own": own.FORMAT,
}
