"""What tells one cause from another, whatever the seed, the scenario and the machine."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from history.metrics import parse_key
from history.reader import History
from history.verdict import Finding

FRAME = re.compile(r'File "(?P<path>[^"]+)", line \d+, in (?P<function>\S+)')
VLLM = re.compile(r".*/(?P<module>vllm/.+)\.py")
"""The package's path in a frame's; of a checkout in a folder `vllm`, the inner one."""
TRACEBACK = "Traceback (most recent call last)"
RAISED = re.compile(r"^(?:[A-Za-z_][\w.]*\.)?(?P<name>[A-Za-z_]\w*(?:Error|Exception|Interrupt|Exit)\b)")
COLOUR = r"(?:\x1b\[[\d;]*m)*"
PREFIX = re.compile(
    rf"^{COLOUR}\([^)]*pid=\d+\){COLOUR}\s?(?:{COLOUR}[A-Z]+ \d\d-\d\d [\d:]+ {COLOUR}\[[^\]]*\]{COLOUR} ?)?"
)
"""Of a process and of vLLM's logger."""


class Raised(NamedTuple):
    """An exception in the log."""

    exception: str
    function: str | None
    """The innermost function of vLLM, as `vllm.v1.engine.core.step`."""

    def __str__(self) -> str:
        return f"{self.exception} in {self.function}" if self.function else self.exception


def signature(finding: Finding, raised: Raised | None = None) -> str:
    """Rule and exception where the log has one, else rule and kind of subject, or the metric's name."""
    if raised is not None:
        return f"{finding.rule}: {raised}"
    subject = finding.subject
    what = parse_key(subject.name)[0] if subject.kind == "metric" else subject.kind
    return f"{finding.rule}: {what}"


def first_raised(history: History, line: int) -> Raised | None:
    """The first exception at or just before a line of the log, counted from 1, that has a traceback."""
    lines = history.log
    start = max(line - 2, 0)
    for at in range(start, len(lines)):
        if TRACEBACK in lines[at]:
            return _read(lines[at + 1 :])
    return None


def _read(lines: Sequence[str]) -> Raised | None:
    """From the line after the head of a traceback."""
    function: str | None = None
    for text in _plain(lines):
        frame = FRAME.search(text)
        if frame is not None:
            function = _function(frame) or function
        elif raised := RAISED.match(text):
            return Raised(raised["name"], function)
    return None


def _plain(lines: Sequence[str]) -> Iterator[str]:
    """Without what the logger puts before each."""
    for line in lines:
        yield PREFIX.sub("", line)


def _function(frame: re.Match[str]) -> str | None:
    path = VLLM.match(frame["path"])
    return None if path is None else f"{path['module'].replace('/', '.')}.{frame['function']}"
