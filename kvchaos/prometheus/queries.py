"""Query the raw samples of the server that Prometheus scraped in a run, scrape by scrape."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TypeVar

import requests
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from urllib3.util.retry import Retry

from history.metrics import series_key
from history.records import ScrapeLine
from kvchaos.prometheus.program import RUN_LABEL, SERVER_JOB, SUITE_JOB
from kvchaos.prometheus.scraper import START_TIME, DifferenceEncoder, SampleDifference, Samples

QueryResult = TypeVar("QueryResult")
WINDOW_S = 120
"""The range of one query, in seconds: about 10 MB of a usual server."""
QUERY_TIMEOUT_S = 30
NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
MS_PER_S = 1000
US_PER_S = 1e6
ADDED_LABELS = frozenset({"__name__", "job", "instance", RUN_LABEL})
"""Labels that Prometheus adds to a series."""
JOBS = {SERVER_JOB, SUITE_JOB}
UP = "up"
DURATION = "scrape_duration_seconds"
SCRAPE_METRICS = frozenset(
    {
        UP,
        DURATION,
        "scrape_samples_scraped",
        "scrape_samples_post_metric_relabeling",
        "scrape_series_added",
    }
)
"""Metrics that Prometheus adds to the samples of a scrape."""
FAILED = "Prometheus says up is 0"


class Unreachable(Exception):
    """Prometheus does not answer, or not as it should; the message gives the reason."""


class PrometheusClient:
    """Queries Prometheus through prometheus-api-client. Every method raises Unreachable."""

    def __init__(self, url: str) -> None:
        session = requests.Session()
        # A proxy from the environment must not apply to this machine.
        session.trust_env = False
        self._api = PrometheusConnect(url, retry=Retry(0), session=session, timeout=QUERY_TIMEOUT_S)

    def close(self) -> None:
        """Close the connections."""
        self._api.close()

    def is_responding(self) -> bool:
        """Whether it answers queries."""
        return bool(self._run_query(lambda: self._api.custom_query("vector(1)")))

    def last_scrape_ms(self, run_id: str) -> int | None:
        """Begin of the last scrape of server or suite, the older one, in ms of the wall clock.

        A failed scrape counts. None when one of them was not scraped.
        """
        found = self._run_query(lambda: self._api.custom_query(f'timestamp({UP}{{{RUN_LABEL}="{run_id}"}})'))
        last_ms = {one["metric"]["job"]: _ms(float(one["value"][1])) for one in found}
        return min(last_ms[job] for job in JOBS) if last_ms.keys() >= JOBS else None

    def is_up(self, run_id: str) -> bool:
        """Whether its last scrape of the server had success."""
        found = self._run_query(
            lambda: self._api.get_current_metric_value(UP, {"job": SERVER_JOB, RUN_LABEL: run_id})
        )
        return any(float(one["value"][1]) == 1 for one in found)

    def samples(self, run_id: str, begin_s: int, end_s: int) -> Iterator[tuple[int, Samples]]:
        """All samples of the server from one time to another, by the time of their scrape, ms, in order."""
        last_ms = -1
        for start in range(begin_s, end_s, WINDOW_S):
            window = self._window(run_id, start, min(start + WINDOW_S, end_s))
            for t_ms in sorted(window):
                # Prometheus 2 counts a sample at the edge of two windows to both.
                if t_ms > last_ms:
                    last_ms = t_ms
                    yield t_ms, window[t_ms]

    def _window(self, run_id: str, begin_s: int, end_s: int) -> dict[int, Samples]:
        found = self._run_query(
            lambda: self._api.get_metric_range_data(
                "",
                {"job": SERVER_JOB, RUN_LABEL: run_id},
                start_time=datetime.fromtimestamp(begin_s, UTC),
                end_time=datetime.fromtimestamp(end_s, UTC),
            )
        )
        by_time: dict[int, Samples] = defaultdict(dict)
        for series in found:
            metric: dict[str, str] = series["metric"]
            labels = {name: value for name, value in metric.items() if name not in ADDED_LABELS}
            key = series_key(metric["__name__"], labels)
            for t_s, value in series["values"]:
                by_time[_ms(t_s)][key] = float(value)
        return by_time

    def _run_query(self, query: Callable[[], QueryResult]) -> QueryResult:
        try:
            return query()
        except (requests.RequestException, PrometheusApiClientException) as error:
            raise Unreachable(f"{type(error).__name__}: {error}") from error


def read_scrapes(client: PrometheusClient, run_id: str, begin_s: int, end_s: int) -> Iterator[ScrapeLine]:
    """Each scrape of the server, failed ones too, as lines that `history.metrics.MetricLog` reads.

    Raises Unreachable.
    """
    encoder = DifferenceEncoder()
    for t_ms, samples in client.samples(run_id, begin_s, end_s):
        failed, took_s = samples.get(UP) != 1, samples.get(DURATION, 0.0)
        values = {key: value for key, value in samples.items() if key not in SCRAPE_METRICS}
        difference = SampleDifference([], {}, []) if failed else encoder.encode(values)
        yield ScrapeLine(
            t_ns=t_ms * NS_PER_MS,
            mono_ns=0,
            took_us=round(took_s * US_PER_S),
            incarnation=values.get(START_TIME),
            new=difference.new,
            changed=difference.changed,
            gone=difference.gone,
            error=FAILED if failed else None,
        )


def _ms(t_s: float) -> int:
    return round(t_s * MS_PER_S)
