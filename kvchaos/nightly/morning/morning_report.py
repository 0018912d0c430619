"""The last comparison and the last search for failures of a history."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kvchaos.errors import UsageError
from kvchaos.nightly.creep_record import read_creep
from kvchaos.nightly.night_headlines import headlines
from kvchaos.nightly.night_report import NightReport, night_report
from kvchaos.nightly.night_store import read_nights
from kvchaos.report.headline import Headline, joined
from kvchaos.stability.stability_report import StabilityReport, stability_report
from kvchaos.stability.stability_summary import stability_headlines


@dataclass(frozen=True, slots=True)
class MorningReport:
    """One of the two at least."""

    performance: NightReport | None
    stability: StabilityReport | None

    @property
    def date(self) -> str:
        """The day of the later one."""
        starts = [part.night.night for part in (self.performance, self.stability) if part is not None]
        return max(starts)[:10]

    def headlines(self) -> list[Headline]:
        """Ten lines at most."""
        performance = headlines(self.performance) if self.performance else []
        stability = stability_headlines(self.stability) if self.stability else []
        return joined(performance, stability)


def morning_report(history: Path, runs: Path | None) -> MorningReport:
    """Read the last nights of a history, whose runs are in `runs`. Raises UsageError."""
    nights = read_nights(history)
    performance = None
    if nights.nights:
        performance = night_report(nights, read_creep(history, nights.nights[-1].night))
    stability = stability_report(history, runs)
    if performance is None and stability is None:
        raise UsageError(f"{history}: has no nights; give the folder of a history with --history")
    return MorningReport(performance, stability)
