"""Links from a page of nights to the reports of its runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from history import layout


@dataclass(frozen=True, slots=True)
class PageFolders:
    """Where the page lies, and where the runs of the night are."""

    page: Path
    runs: Path | None

    def report_url(self, run_dir: Path) -> str | None:
        """The report of a run, relative to the page, so that both can move; None where there is none."""
        report = run_dir / layout.REPORT
        if not report.is_file():
            return None
        return quote(os.path.relpath(report.absolute(), self.page.absolute()))
