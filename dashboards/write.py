"""`python -m dashboards.write` writes the JSON of every dashboard."""

from __future__ import annotations

import json
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards import campaign_board, fleet_board, night_board, run_board

FOLDER = Path(__file__).parent
MENU = "inControlsMenu"


def dashboards() -> dict[Path, Dashboard]:
    """All dashboards by the path of their JSON."""
    return {
        FOLDER / "run.json": run_board.dashboard(),
        FOLDER / "campaign.json": campaign_board.dashboard(),
        FOLDER / "fleet.json": fleet_board.dashboard(),
        FOLDER / "nights.json": night_board.dashboard(),
    }


def text(dashboard: Dashboard) -> str:
    """The JSON of a dashboard, as in its file."""
    content = json.loads(JSONEncoder().encode(dashboard.build()), object_hook=_without_menu)
    return json.dumps(content, sort_keys=True, indent=1) + "\n"


def _without_menu(content: dict[str, object]) -> dict[str, object]:
    """The SDK moves each link and annotation into a menu of Grafana 13, which does not list links by tag."""
    return {key: value for key, value in content.items() if (key, value) != ("placement", MENU)}


def main() -> None:
    """Write the JSON of every dashboard next to its code."""
    for path, dashboard in dashboards().items():
        path.write_text(text(dashboard), encoding="utf-8")


if __name__ == "__main__":
    main()
