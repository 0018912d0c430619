"""A self-test proves nothing when a mutant alters nothing, or when a wrong finding counts as a kill."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from msgspec.structs import replace

from history.verdict import Finding, OracleResult, RunVerdict, Verdict, metric, request
from kvchaos.selftest import stream_mutations
from kvchaos.selftest.kill_matrix import insert_tables, mutants_by_oracle, score_session, session_scenario
from kvchaos.selftest.mutants.mutant import Mutant, Session, inconclusive, violates
from kvchaos.selftest.mutants.sessions import sessions
from kvchaos.selftest.mutating_proxy import (
    DONE,
    STARTS_AFTER,
    ConnectionCut,
    Mutation,
    ProxiedRequest,
    TrafficState,
    mutating_proxy,
)
from kvchaos.selftest.server_mutations import MutationTiming, SampleMutation, alter_samples, drop_metric
from oracles import ORACLES
from oracles.laws.generic import VANISHED
from oracles.outcomes import FAILED, TRUNCATED

PAGE = Path(__file__).parents[3] / "docs" / "oracles.md"
TEXT = '# TYPE a counter\na{x="1",y="2"} 4.0\na{x="2",y="2"} 5.0\nab 6.0\n'


class TestCatalogue:
    def test_every_oracle_has_a_mutant_or_an_alteration_of_its_own(self) -> None:
        # Mutants change servers, and no server here has a GPU: only alterations break the rules of `gpu`.
        without = {"gpu"}
        own = {oracle.name for oracle in ORACLES if not oracle.alterations}
        assert set(mutants_by_oracle()) == own - without

    def test_names_of_mutants_and_of_runs_are_unique(self) -> None:
        runs = [session.name for session in sessions()]
        mutants = [mutant.name for session in sessions() for mutant in session.mutants]
        assert len(set(runs)) == len(runs)
        assert len(set(mutants)) == len(mutants)

    @pytest.mark.parametrize("session", sessions(), ids=lambda session: session.name)
    def test_every_run_of_the_proof_has_a_valid_scenario(self, session: Session) -> None:
        assert session_scenario(session).phases

    def test_the_page_is_up_to_date(self) -> None:
        page = PAGE.read_text(encoding="utf-8")
        assert insert_tables(page) == page, "bring it up to date with: kvchaos oracles --page docs/oracles.md"


class TestSamples:
    def test_only_matching_samples_are_altered(self) -> None:
        altered = alter_samples(TEXT, "a", {"x": "1"}, lambda value: value + 1)
        assert altered == TEXT.replace('a{x="1",y="2"} 4.0', 'a{x="1",y="2"} 5.0')

    def test_mutant_without_a_matching_sample_reports_it(self) -> None:
        with pytest.raises(LookupError, match=r"\bb\b"):
            alter_samples(TEXT, "b", {}, lambda value: value)

    def test_metric_removal_drops_exactly_its_samples(self) -> None:
        assert drop_metric(TEXT, "a") == "# TYPE a counter\nab 6.0\n"
        with pytest.raises(LookupError, match=r"\bb\b"):
            drop_metric(TEXT, "b")

    def test_one_shot_mutant_leaves_the_next_scrape_unchanged(self, tmp_path: Path) -> None:
        mutation = SampleMutation("ab", lambda value: value / 2, when=MutationTiming.ONE_SCRAPE)
        mid_load = TrafficState(tmp_path, port=1, load_in_flight=1, load_ended=STARTS_AFTER)
        assert mutation.scrape(TEXT, mid_load) != TEXT
        assert mutation.scrape(TEXT, mid_load) == TEXT

    def test_single_scrape_mutant_waits_for_an_open_request(self, tmp_path: Path) -> None:
        """A phase begins and ends at such a scrape: the ledgers are read there."""
        mutation = SampleMutation("ab", lambda value: value / 2, when=MutationTiming.ONE_SCRAPE)
        assert mutation.scrape(TEXT, TrafficState(tmp_path, port=1, load_ended=STARTS_AFTER)) == TEXT


def event(token: int) -> str:
    choice = {"text": "t", "token_ids": [token], "logprobs": {"token_logprobs": [-1.5]}}
    return json.dumps({"choices": [choice]})


EVENTS = [event(token) for token in range(6)]
STREAM = [
    *EVENTS,
    json.dumps(
        {"choices": [], "usage": {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": None}}}
    ),
    DONE,
]


class TestStreams:
    def test_truncation_mutant_ends_the_stream_without_an_error(self) -> None:
        assert list(stream_mutations.truncated(iter(STREAM))) == STREAM[: stream_mutations.ALTERED_EVENT]

    def test_cut_mutant_cuts_the_connection(self) -> None:
        passed: list[str] = []
        with pytest.raises(ConnectionCut):
            passed.extend(stream_mutations.connection_cut(iter(STREAM)))

    def test_stream_mutant_duplicates_an_event(self) -> None:
        assert list(stream_mutations.event_repeated(iter(EVENTS))) == [*EVENTS[:4], EVENTS[3], *EVENTS[4:]]

    def test_stream_mutant_drops_an_event(self) -> None:
        assert list(stream_mutations.event_lost(iter(EVENTS))) == [*EVENTS[:3], *EVENTS[4:]]

    def test_token_mutant_keeps_the_logprob(self) -> None:
        choice = json.loads(list(stream_mutations.other_token(iter(EVENTS)))[3])["choices"][0]
        assert choice["token_ids"] == [2]
        assert choice["logprobs"]["token_logprobs"] == [-1.5]

    def test_logprob_mutant_changes_the_last_of_32_bits(self) -> None:
        choice = json.loads(list(stream_mutations.other_logprob(iter(EVENTS)))[3])["choices"][0]
        assert choice["token_ids"] == [3]
        assert choice["logprobs"]["token_logprobs"] == [-1.5 - 2.0**-23]

    @pytest.mark.parametrize("name", ["prompt_tokens", "cached_tokens"])
    def test_stream_mutant_changes_the_usage(self, name: str) -> None:
        altered = list(stream_mutations.usage_off_by(name, 7)(iter(STREAM)))
        usage = json.loads(altered[-2])["usage"]
        assert usage | usage["prompt_tokens_details"] == usage | {
            "prompt_tokens": 16 if name == "prompt_tokens" else 9,
            "cached_tokens": 7 if name == "cached_tokens" else None,
        }
        assert [*altered[:-2], altered[-1]] == [*STREAM[:-2], STREAM[-1]]

    def test_answer_swap_mutant_sends_tokens_of_another_request(self) -> None:
        foreign = stream_mutations.SwappedAnswer("load-1", source="golden-0")
        others = [event(token + 100) for token in range(6)]
        assert list(foreign.events(proxied_request("golden-0"), iter(others))) == others
        swapped = list(foreign.events(proxied_request("load-1"), iter(STREAM)))
        assert [json.loads(line)["choices"][0]["token_ids"] for line in swapped[:6]] == [
            [token + 100] for token in range(6)
        ]
        assert swapped[6:] == STREAM[6:]

    def test_an_event_with_several_tokens_is_altered_token_by_token(self) -> None:
        """A server under load puts several tokens in one event."""
        merged = json.dumps(
            {
                "choices": [
                    {
                        "text": "tttttt",
                        "token_ids": list(range(6)),
                        "logprobs": {"token_logprobs": [-1.5] * 6},
                        "finish_reason": "length",
                    }
                ]
            }
        )
        lost = stream_mutations.StreamMutation("load-1", stream_mutations.event_lost)
        altered = list(lost.events(proxied_request("load-1"), iter([merged, *STREAM[6:]])))
        choices = [json.loads(line)["choices"][0] for line in altered[:5]]
        assert [choice["token_ids"] for choice in choices] == [[0], [1], [2], [4], [5]]
        assert "".join(choice["text"] for choice in choices) == "tttttt"
        assert [choice["finish_reason"] for choice in choices] == [None] * 4 + ["length"]
        assert altered[5:] == STREAM[6:]

    def test_answer_swap_mutant_keeps_the_token_count_of_batched_events(self) -> None:
        """One event of the answer had six tokens and got one instead: the answer was too short as well."""
        merged = json.dumps(
            {"choices": [{"text": "t", "token_ids": [1, 2, 3], "logprobs": {"token_logprobs": [-1.5] * 3}}]}
        )
        foreign = stream_mutations.SwappedAnswer("load-1", source="golden-0")
        list(foreign.events(proxied_request("golden-0"), iter([event(token + 100) for token in range(6)])))
        swapped = list(foreign.events(proxied_request("load-1"), iter([merged, *STREAM[3:]])))
        tokens = [token for line in swapped[:6] for token in json.loads(line)["choices"][0]["token_ids"]]
        assert tokens == [token + 100 for token in range(6)]


def proxied_request(name: str) -> ProxiedRequest:
    return ProxiedRequest("POST", "/v1/completions", name, b"{}")


def verdict(*results: OracleResult) -> RunVerdict:
    return RunVerdict(
        run_id="r",
        scenario="s",
        server="x",
        seed=1,
        outcome="unknown",
        reasons=[],
        expected_failures=[],
        issue=None,
        results=list(results),
    )


def result(oracle: str, verdict: Verdict, *rules: str) -> OracleResult:
    """With a finding of each rule on request load-1."""
    findings = [Finding(rule=rule, subject=request("load-1"), text=f"broke {rule}") for rule in rules]
    return OracleResult(
        oracle=oracle,
        verdict=verdict,
        summary="in short",
        findings=findings,
        violations=len(rules),
        by_rule=dict.fromkeys(rules, 1),
    )


class TestScore:
    session = Session("one", (Mutant("m", "what", (), (violates(FAILED, "load-1"),)),))

    def test_mutant_is_killed_by_its_rule(self) -> None:
        scored = score_session(self.session, verdict(result("outcomes", Verdict.FAIL, FAILED.id)))
        assert scored.passed
        assert scored.rows[0].evidence == f"broke {FAILED.id}"

    def test_a_mutant_survives_when_its_rule_is_not_broken(self) -> None:
        scored = score_session(self.session, verdict(result("outcomes", Verdict.PASS)))
        assert not scored.rows[0].killed

    def test_a_mutant_survives_when_its_rule_is_broken_by_another_request(self) -> None:
        other = Session("one", (Mutant("m", "what", (), (violates(FAILED, "load-2"),)),))
        scored = score_session(other, verdict(result("outcomes", Verdict.FAIL, FAILED.id)))
        assert not scored.rows[0].killed

    @pytest.mark.parametrize(("reported", "passed"), [(Verdict.UNKNOWN, True), (Verdict.PASS, False)])
    def test_mutant_expected_unknown_is_killed_by_unknown(self, reported: Verdict, passed: bool) -> None:
        session = Session("one", (Mutant("m", "what", (), (inconclusive("client"),)),))
        scored = score_session(session, verdict(result("client", reported)))
        assert scored.passed is passed

    def test_a_violation_of_another_rule_of_the_same_oracle_fails_the_proof(self) -> None:
        both = result("outcomes", Verdict.FAIL, FAILED.id, TRUNCATED.id)
        scored = score_session(self.session, verdict(both))
        assert scored.rows[0].killed
        assert scored.unexpected == (f"one: {TRUNCATED.id}: broke {TRUNCATED.id}",)

    def test_an_oracle_that_is_unknown_without_a_reason_fails_the_proof(self) -> None:
        killed = result("outcomes", Verdict.FAIL, FAILED.id)
        scored = score_session(self.session, verdict(killed, result("answers", Verdict.UNKNOWN)))
        (unexpected,) = scored.unexpected
        assert unexpected.startswith("one: answers ")


class TestLawsOfAMutantsMetric:
    """A mutant that makes one series wrong breaks each law between that series and another."""

    session = Session("one", (Mutant("m", "what", (SampleMutation("vllm:prompt_tokens_total", abs),), ()),))

    def test_mutant_is_killed_by_a_law_on_its_metric(self) -> None:
        broken_law = result("accounting", Verdict.FAIL, "accounting/request-prompt-tokens")
        assert score_session(self.session, verdict(broken_law)).passed

    def test_violated_law_on_other_metrics_fails_the_proof(self) -> None:
        other = result("accounting", Verdict.FAIL, "accounting/decode-time-gaps")
        assert not score_session(self.session, verdict(other)).passed

    @pytest.mark.parametrize(
        ("series", "holds"),
        [("vllm:prompt_tokens_total", True), ("vllm:generation_tokens_total", False)],
    )
    def test_rule_on_all_series_counts_for_the_mutated_metric_only(self, series: str, holds: bool) -> None:
        found = Finding(rule=VANISHED.id, subject=metric(f'{series}{{engine="0"}}'), text="it vanished")
        of_all = replace(result("counters", Verdict.FAIL, VANISHED.id), findings=[found])
        assert score_session(self.session, verdict(of_all)).passed is holds


class Upstream(BaseHTTPRequestHandler):
    """Answers a question with its path, and a completion with a stream."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer("text/plain", self.path.encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer("text/event-stream", "".join(f"data: {line}\n\n" for line in STREAM).encode())

    def log_message(self, *_: object, **__: object) -> None:
        pass

    def _answer(self, content_type: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def upstream() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Upstream) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


class Marked(Mutation):
    """Marks what Prometheus is told."""

    def prometheus_scrape(self, text: str, session_scenario: TrafficState) -> str:
        return f"{text}, watched"


class ScrapesCut(Mutation):
    """Cuts the scrapes of Prometheus off after the first probe."""

    def prometheus_scrape(self, text: str, traffic: TrafficState) -> str:
        if traffic.probes_ended:
            raise ConnectionCut
        return text


def send_request(address: str, method: str, path: str, name: str = "", agent: str = "") -> bytes:
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=10)
    try:
        headers = {"X-Request-Id": name, "User-Agent": agent}
        connection.request(method, path, b"{}" if method == "POST" else None, headers)
        return connection.getresponse().read()
    finally:
        connection.close()


class TestProxy:
    def test_unmutated_traffic_passes_unchanged(self, upstream: int, tmp_path: Path) -> None:
        traffic = TrafficState(tmp_path, upstream)
        with mutating_proxy([Mutation()], traffic) as address:
            assert send_request(address, "GET", "/health") == b"/health"
            answer = send_request(address, "POST", "/v1/completions", "load-1").decode()
        assert answer == "".join(f"data: {line}\n\n" for line in STREAM)
        assert (traffic.load_ended, traffic.load_in_flight) == (1, 0)

    def test_stream_mutant_changes_one_request_only(self, upstream: int, tmp_path: Path) -> None:
        lost = stream_mutations.StreamMutation("load-1", stream_mutations.event_lost)
        with mutating_proxy([lost], TrafficState(tmp_path, upstream)) as address:
            assert send_request(address, "POST", "/v1/completions", "load-1").decode().count("data: ") == 7
            assert send_request(address, "POST", "/v1/completions", "load-2").decode().count("data: ") == 8

    def test_a_cut_shows_as_a_broken_connection(self, upstream: int, tmp_path: Path) -> None:
        cut = stream_mutations.StreamMutation("load-1", stream_mutations.connection_cut)
        violates = pytest.raises(http.client.IncompleteRead)
        with mutating_proxy([cut], TrafficState(tmp_path, upstream)) as address, violates:
            send_request(address, "POST", "/v1/completions", "load-1")

    def test_only_prometheus_receives_the_altered_exposition(self, upstream: int, tmp_path: Path) -> None:
        with mutating_proxy([Marked()], TrafficState(tmp_path, upstream)) as address:
            assert send_request(address, "GET", "/metrics") == b"/metrics"
            assert send_request(address, "GET", "/metrics", agent="Prometheus/2.53.3") == b"/metrics, watched"

    def test_cut_scrape_closes_the_connection(self, upstream: int, tmp_path: Path) -> None:
        traffic = TrafficState(tmp_path, upstream, probes_ended=1)
        with (
            mutating_proxy([ScrapesCut()], traffic) as address,
            pytest.raises(http.client.RemoteDisconnected),
        ):
            send_request(address, "GET", "/metrics", agent="Prometheus/2.53.3")

    def test_a_refused_request_never_reaches_the_server(self, tmp_path: Path) -> None:
        refused = stream_mutations.RequestRefused("load-1", 503)
        with mutating_proxy([refused], TrafficState(tmp_path, port=1)) as address:
            assert b"the mutant refuses" in send_request(address, "POST", "/v1/completions", "load-1")
