"""Counters are judged from these lines: what is read back must be what the server said, scrape by scrape."""

from __future__ import annotations

import contextlib
import errno
import http.server
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from history.jsonl import LineWriter
from history.metrics import MetricLog, series_key
from history.records import ScrapeLine
from kvchaos.prometheus.scraper import BadScrape, DifferenceEncoder, Scraper, parse_samples

FIRST = """\
# HELP process_start_time_seconds Start time of the process since unix epoch in seconds.
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.79550716454e+09
# HELP vllm:num_preemptions_total Cumulative number of preemptions.
# TYPE vllm:num_preemptions_total counter
vllm:num_preemptions_total{engine="0",model_name="tiny"} 3.0
# TYPE vllm:num_preemptions_created gauge
vllm:num_preemptions_created{engine="0",model_name="tiny"} 1.79550721484998e+09
# TYPE vllm:request_success_total counter
vllm:request_success_total{finished_reason="stop"} 7.0
vllm:request_success_total{finished_reason="length"} 1.0
"""
PREEMPTIONS = 'vllm:num_preemptions_total{engine="0",model_name="tiny"}'


class FakeServer:
    """Serves `body` under /metrics over kept connections, and counts the connections."""

    def __init__(self) -> None:
        self.body = FIRST.encode()
        self.status = 200
        self.close_after = False
        self.connections = 0
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                fake.connections += 1
                super().setup()

            def do_GET(self) -> None:
                assert self.path == "/metrics"
                # Read once: after the headers of an empty body the test may already set the next one.
                body = fake.body
                self.send_response(fake.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                # Without a word to the client, as when a kept connection idles too long.
                self.close_connection = fake.close_after

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class names it so)
                """Quiet."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.socket.close()


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    yield fake
    fake.stop()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


@pytest.fixture
def scraper(server: FakeServer, path: Path) -> Iterator[Scraper]:
    with LineWriter(path) as writer:
        made = Scraper(server.url, writer, period_s=0.02, timeout_s=30.0)
        yield made
        made.stop()


def lines(path: Path) -> list[ScrapeLine]:
    return [msgspec.json.decode(line, type=ScrapeLine) for line in path.read_bytes().splitlines()]


def log(path: Path) -> MetricLog:
    return MetricLog.from_lines(lines(path))


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def test_scraped_values_equal_the_exposed_ones(scraper: Scraper, path: Path) -> None:
    samples = scraper.scrape_now()
    assert samples is not None
    assert samples == scraper.latest()
    assert samples[PREEMPTIONS] == 3.0
    back = log(path)
    assert {series.key: series.value(0) for series in back} == samples
    assert back.total(0, "vllm:request_success_total") == 8.0
    assert back.incarnations == [1.79550716454e09]


def test_created_series_are_left_out(scraper: Scraper) -> None:
    samples = scraper.scrape_now()
    assert samples is not None
    assert len(samples) == 4
    assert not any("_created" in key for key in samples)


def test_an_unchanged_scrape_is_written_without_values(scraper: Scraper, path: Path) -> None:
    scraper.scrape_now()
    scraper.scrape_now()
    second = lines(path)[1]
    assert (second.new, second.changed, second.gone, second.error) == ([], {}, [], None)
    assert log(path).total(1, "vllm:num_preemptions_total") == 3.0


def test_restart_with_reset_counters_is_recorded(scraper: Scraper, server: FakeServer, path: Path) -> None:
    scraper.scrape_now()
    server.body = FIRST.replace('tiny"} 3.0', 'tiny"} 0.0').replace("1.79550716454e+09", "1.8e+09").encode()
    scraper.scrape_now()
    back = log(path)
    assert back.incarnations == [1.79550716454e09, 1.8e09]
    assert [back.total(scrape, "vllm:num_preemptions_total") for scrape in (0, 1)] == [3.0, 0.0]
    assert back.increase(0, 1, "vllm:num_preemptions_total") is None


def test_a_server_without_a_start_time_has_no_incarnation(
    scraper: Scraper, server: FakeServer, path: Path
) -> None:
    server.body = b"up 1\n"
    scraper.scrape_now()
    assert lines(path)[0].incarnation is None


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"vllm:x{a=} 1\n<html>", "malformed"),
        (b"vllm:x one\n", "malformed"),
        (b"vllm:x " + b"9" * 400 + b"\n", "malformed"),
        ("x{,\u2028=\\''{E}Y 1\n".encode(), "malformed"),
        (b"", "no samples"),
        (b"\xff\xfe 1\n", "malformed"),
        (b"vllm:x 1\nvllm:x 2\n", "vllm:x "),
    ],
)
def test_malformed_text_is_an_error_line_and_no_values(
    scraper: Scraper, server: FakeServer, path: Path, body: bytes, why: str
) -> None:
    scraper.scrape_now()
    server.body = body
    assert scraper.scrape_now() is None
    assert scraper.latest() is None
    bad = lines(path)[1]
    assert bad.error is not None
    assert why in bad.error
    assert (bad.new, bad.changed, bad.incarnation) == ([], {}, None)
    server.body = FIRST.encode()
    assert scraper.scrape_now() is not None
    back = log(path)
    assert (len(back), len(back.failures)) == (2, 1)


def test_an_http_error_is_an_error_line(scraper: Scraper, server: FakeServer, path: Path) -> None:
    server.status = 503
    assert scraper.scrape_now() is None
    assert lines(path)[0].error == "HTTP status 503"


def test_a_dead_server_is_an_error_line(path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with LineWriter(path) as writer:
            scraper = Scraper(f"http://127.0.0.1:{unused.getsockname()[1]}", writer)
            assert scraper.scrape_now() is None
            scraper.stop()
    assert (lines(path)[0].error or "").startswith("ConnectionRefusedError")


def test_a_frozen_server_is_an_error_line(path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, LineWriter(path) as writer:
        scraper = Scraper(f"http://127.0.0.1:{silent.getsockname()[1]}", writer, timeout_s=0.1)
        assert scraper.scrape_now() is None
        scraper.stop()
    assert (lines(path)[0].error or "").startswith(TimeoutError.__name__)


def test_scraper_reuses_one_connection(scraper: Scraper, server: FakeServer) -> None:
    for _ in range(5):
        scraper.scrape_now()
    assert server.connections == 1


def test_closed_keepalive_connection_is_no_failed_scrape(
    scraper: Scraper, server: FakeServer, path: Path
) -> None:
    server.close_after = True
    for _ in range(3):
        assert scraper.scrape_now() is not None
    assert server.connections == 3
    assert log(path).failures == []


def test_the_thread_scrapes_until_stopped_and_mixes_with_exact_scrapes(scraper: Scraper, path: Path) -> None:
    scraper.start()
    wait_for(lambda: path.read_bytes().count(b"\n") >= 5)
    assert scraper.scrape_now() is not None
    scraper.stop()
    count = len(lines(path))
    back = log(path)
    assert len(back) == count
    assert back.times_ns == sorted(back.times_ns)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("scrape")]


def test_scrapes_stay_ordered_when_the_clock_is_set_back(
    scraper: Scraper, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scraper.scrape_now()
    monkeypatch.setattr(time, "time_ns", lambda: 5)
    scraper.scrape_now()
    first, second = lines(path)
    assert second.t_ns == first.t_ns
    assert second.mono_ns > first.mono_ns


def test_full_disk_during_a_scrape_is_raised(server: FakeServer) -> None:
    with LineWriter(Path("/dev/full")) as writer:
        scraper = Scraper(server.url, writer, period_s=0.01)
        scraper.failure()
        scraper.start()
        wait_for(lambda: not any(thread.name == "scrape-beat" for thread in threading.enumerate()))
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            scraper.failure()
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            scraper.scrape_now()
        scraper.stop()


names = st.from_regex(r"[a-z][a-z0-9_:]{0,8}_total", fullmatch=True)
labels = st.dictionaries(st.from_regex(r"[a-z][a-z_]{0,5}", fullmatch=True), st.text(max_size=8), max_size=3)
keys = st.builds(series_key, names, labels)
values = st.floats()
scrapes = st.lists(st.dictionaries(keys, values, max_size=6), min_size=1, max_size=6)


def line_of(number: int, samples: dict[str, float], encoder: DifferenceEncoder) -> ScrapeLine:
    difference = encoder.encode(samples)
    line = ScrapeLine(
        t_ns=number,
        mono_ns=number,
        took_us=0,
        incarnation=None,
        new=difference.new,
        changed=difference.changed,
        gone=difference.gone,
        error=None,
    )
    return msgspec.json.decode(msgspec.json.encode(line), type=ScrapeLine)


def same(left: float, right: float) -> bool:
    return left == right or (math.isnan(left) and math.isnan(right))


@given(scrapes)
def test_difference_encoding_round_trips_any_scrapes(given_scrapes: list[dict[str, float]]) -> None:
    encoder = DifferenceEncoder()
    back = MetricLog.from_lines(line_of(n, samples, encoder) for n, samples in enumerate(given_scrapes))
    for number, samples in enumerate(given_scrapes):
        present = {series.key: value for series in back if (value := series.value(number)) is not None}
        assert present.keys() == samples.keys()
        assert all(same(present[key], value) for key, value in samples.items())


@given(st.dictionaries(keys, values, min_size=1, max_size=6))
def test_labels_round_trip_the_exposition_format(samples: dict[str, float]) -> None:
    text = "".join(f"{key} {value!r}\n" for key, value in samples.items())
    back = parse_samples(text)
    assert back.keys() == samples.keys()
    assert all(same(back[key], value) for key, value in samples.items())


@given(st.text(alphabet='ab{}=",\\ \n#1.+eNaIf_:TYPEcounter'))
def test_any_text_gives_samples_or_bad_scrape(text: str) -> None:
    with contextlib.suppress(BadScrape):
        assert parse_samples(text)
