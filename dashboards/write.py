"""Write the JSON of every dashboard: python -m dashboards.write"""

from __future__ import annotations

from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards import run_dashboard

FOLDER = Path(__file__).parent


def dashboards() -> dict[Path, Dashboard]:
    """By the file that each is written to."""
    return {FOLDER / "run.json": run_dashboard.dashboard()}


def text(dashboard: Dashboard) -> str:
    """The JSON of a dashboard, as in its file."""
    return JSONEncoder(sort_keys=True, indent=1).encode(dashboard.build()) + "\n"


def main() -> None:
    for path, dashboard in dashboards().items():
        path.write_text(text(dashboard), encoding="utf-8")


if __name__ == "__main__":
    main()
