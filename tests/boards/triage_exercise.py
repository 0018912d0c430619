"""Triage of a red night by a script that knows the board of the nights and follows its links.

`python -m tests.boards.triage_exercise` prints the paths of all red nights.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from kvchaos.prometheus.program import need_prometheus
from tests.boards.board_data import OpenedData
from tests.boards.board_request import request_board
from tests.boards.followed_links import Boards, LinkBroken, is_board, linked_rows, opened_board
from tests.boards.red_nights import RED_NIGHTS, RedNight, opened_night
from tests.prometheus.grafana_queries import DASHBOARDS, NIGHT_BOARD, read

MOST_STEPS = 3
COMMAND = "kvchaos run "


@dataclass(frozen=True)
class LinkStep:
    """A link that was followed."""

    board: str
    panel: str
    title: str
    url: str


@dataclass(frozen=True)
class FoundCause:
    """Evidence at the end of a path, with the cause and the command that the boards before it show."""

    steps: tuple[LinkStep, ...]
    signature: str
    command: str

    @property
    def evidence(self) -> str:
        """URL of the evidence."""
        return self.steps[-1].url


def follow_links(opened: OpenedData, boards: Boards) -> list[FoundCause]:
    """From the board of the nights along the first row with links of each board. Raises LinkBroken."""
    nights = next(board for board in boards if board["uid"] == read(NIGHT_BOARD)["uid"])
    request = request_board(nights, opened.prometheus, opened.shown, {})
    steps: tuple[LinkStep, ...] = ()
    signature = ""
    found: list[FoundCause] = []
    while len(steps) < MOST_STEPS:
        signature = request.variables.get("signature", signature)
        row = next(linked_rows(request), None)
        if row is None:
            raise LinkBroken(f"{request.board['title']}: no row with a link")
        made = [LinkStep(request.board["title"], row.panel, title, url) for title, url in row.links.items()]
        command = next((text for text in row.cells.values() if text.startswith(COMMAND)), "")
        found += [FoundCause((*steps, step), signature, command) for step in made if is_evidence(step.url)]
        onward = next((step for step in made if is_board(step.url)), None)
        if onward is None:
            break
        steps = (*steps, onward)
        request = opened_board(onward.url, boards, opened.prometheus)
    return found


def is_evidence(url: str) -> bool:
    """Whether a link leads to findings within a report."""
    return not is_board(url) and bool(urlsplit(url).fragment)


def evidence_text(cause: FoundCause, night: RedNight) -> str:
    """The part of the report to which the evidence leads. Raises LinkBroken."""
    parts = urlsplit(cause.evidence)
    report = night.campaign.parent / unquote(parts.path).lstrip("/")
    if not report.is_file():
        raise LinkBroken(f"{cause.evidence}: no {report}")
    _, mark, text = report.read_text(encoding="utf-8").partition(f'id="{parts.fragment}"')
    if not mark:
        raise LinkBroken(f"{cause.evidence}: {report} has no part {parts.fragment}")
    return text


def _lines(name: str, causes: Sequence[FoundCause]) -> Iterator[str]:
    for cause in causes:
        yield f"{name}: {len(cause.steps)} steps: {cause.signature}"
        yield from (f"  {step.board} > {step.panel} > {step.title}" for step in cause.steps)
        yield f"  {cause.evidence}"
        yield f"  {cause.command}"


def main() -> None:
    """Follow the links of each red night, and print the paths."""
    promtool = need_prometheus(os.environ).with_name("promtool")
    boards = [read(path) for path in DASHBOARDS]
    for name, write in RED_NIGHTS.items():
        with tempfile.TemporaryDirectory() as scratch:
            night = write(Path(scratch))
            with opened_night(night, promtool, Path(scratch)) as opened:
                sys.stdout.writelines(f"{line}\n" for line in _lines(name, follow_links(opened, boards)))


if __name__ == "__main__":
    main()
