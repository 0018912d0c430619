"""Draw what `make demo` prints: `python -m benchmarks.verdict_image docs/verdict.svg`."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from history.reader import read_history
from kvchaos.judging.judge_run import judge
from kvchaos.terminal.result_tables import show_run

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "corruption-canary"
DEMO = Path("runs/demo-corruption-canary")
"""Where `make demo` puts its copy of the example."""
WIDTH = 100
TEMPLATE = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
    <style>
    .{unique_id}-matrix {{ font: {char_height}px/{line_height}px monospace; }}
    .{unique_id}-title {{ font: bold 18px sans-serif; }}
    {styles}
    </style>
    <defs>
    <clipPath id="{unique_id}-clip-terminal">
      <rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
    </clipPath>
    {lines}
    </defs>
    {chrome}
    <g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
    {backgrounds}
    <g class="{unique_id}-matrix">
    {matrix}
    </g>
    </g>
</svg>
"""
"""Rich's own fetches a font from elsewhere."""


def verdict_image() -> str:
    """An SVG picture of the verdict of the stored example. The same files give the same picture."""
    history = read_history(EXAMPLE)
    console = Console(
        file=io.StringIO(),
        record=True,
        width=WIDTH,
        force_terminal=True,
        color_system="truecolor",
        _environ={"TERM": "xterm-256color"},
    )
    console.print(Text("$ make demo"))
    show_run(console, history.plan, judge(history), DEMO)
    drawn = console.export_svg(title="kvchaos", code_format=TEMPLATE, unique_id="verdict")
    return "".join(f"{line.rstrip()}\n" for line in drawn.splitlines())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m benchmarks.verdict_image FILE.svg")
    Path(sys.argv[1]).write_text(verdict_image(), encoding="utf-8")
