"""A returning prompt is measured only where its blocks came from the source that the table names."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvchaos.bench.bench_file import FILE, read_bench
from kvchaos.bench.prompt_sources import SourceFigures, source_figures
from tests.server.bench import NEW, Bench

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def measured(
    tmp_path_factory: pytest.TempPathFactory, server_cache: Path
) -> dict[tuple[str, str], SourceFigures]:
    """The figures by length and source."""
    bench = Bench(tmp_path_factory.mktemp("sources"), server_cache)
    # Other tests run at the same time, so the client may be slow: sources are checked here, not speed.
    options = ("--repeats", "1", "--max-client-lag-ms", "1000")
    finished = bench.run("bench", "sources", "--server", NEW, *options)
    assert finished.code == 0, finished.out + finished.err
    (file,) = bench.runs.glob(f"bench-sources-*/{FILE}")
    return {(each.length, each.source): each for each in source_figures(read_bench(file.parent))}


def test_prompts_of_every_length_come_from_the_source_of_their_phase(
    measured: dict[tuple[str, str], SourceFigures],
) -> None:
    assert len(measured) == 9
    assert [key for key, each in measured.items() if not each.is_from_source] == []


def test_copies_from_the_tier_have_a_bandwidth(measured: dict[tuple[str, str], SourceFigures]) -> None:
    rates = {key: each.gb_per_s for key, each in measured.items()}
    assert {source for (_, source), rate in rates.items() if rate is not None} == {"tier"}
