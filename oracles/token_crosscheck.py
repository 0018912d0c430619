"""The server's token counts against what it has no hand in: what the client saw, what was really copied."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from history.protocol.evidence import LoadBlocksFailed, LoadFailed
from history.reader import History
from history.records import ABANDONED, ERROR_EVENT, TRUNCATED_STREAM, FaultRecord, RequestRecord
from oracles.findings import FAULTS, METRICS, REQUESTS, Findings, Rule, Source
from oracles.views.counter_growth import loaded_bytes
from oracles.views.timeline import release
from oracles.views.windows import Window

PROMPT = "vllm:prompt_tokens_total"
BY_SOURCE = "vllm:prompt_tokens_by_source_total"
CACHED = "vllm:prompt_tokens_cached_total"
GENERATED = "vllm:generation_tokens_total"
FIRST_TOKENS = "vllm:time_to_first_token_seconds_count"
SUCCESS = "vllm:request_success_total"
PREEMPTIONS = "vllm:num_preemptions_total"
LOCAL = "vllm:prefix_cache"
EXTERNAL = "vllm:external_prefix_cache"
FIRST_ADMISSION_COUNTS = (0, 26)
"""Before this release a request preempted in mid-prefill is counted by a later admission, which may well
find the request's own blocks in a cache."""

ENDED_BY_SERVER = (ERROR_EVENT, TRUNCATED_STREAM)
"""An error in the stream, or a stream that ended tidily and too early."""
NOT_SETTLED = "there is no scrape of the same server after the last answer, or a metric is absent"


def _rule(name: str, law: str, source: Source = "arithmetic", *more: str) -> Rule:
    return Rule(f"accounting/{name}", law, source, (METRICS, REQUESTS, *more), NOT_SETTLED)


GENERATED_TOKENS = _rule("generated-tokens", "The server counts the generated tokens that clients received.")
PROMPT_TOKENS = _rule("prompt-tokens", "The server counts the prompt tokens that clients sent.")
FINISHED = _rule(
    "finished-requests", "The server counts the requests that ended, by finish reason, as clients do."
)
ABANDONED_FINISHED = _rule(
    "abandoned-requests", "The server counts requests that clients abandoned among the requests that ended."
)
FIRST_TOKEN_COUNT = _rule("first-tokens", "The histogram of TTFT counts each request that got a token, once.")
USAGE_CACHED = _rule(
    "usage-cached-tokens", "The cached tokens of all answers add up to the server's cached prompt tokens."
)
LOOKED_UP = _rule(
    "lookups-exceed-prompts",
    "Lookups in the offload tier are at most the prompt tokens, since each is looked up once, at admission.",
    "vLLM source",
)
CLAIMED = _rule(
    "claimed-exceeds-loaded",
    "The server counts at most as many prompt tokens from the tier as were copied from it without failure.",
    "arithmetic",
    FAULTS,
)
USAGE_CLAIMED = _rule(
    "usage-exceeds-loaded",
    "The cached tokens of all answers were hit on the device or copied from the tier.",
    "arithmetic",
    FAULTS,
)
RULES = (
    GENERATED_TOKENS,
    PROMPT_TOKENS,
    FINISHED,
    ABANDONED_FINISHED,
    FIRST_TOKEN_COUNT,
    USAGE_CACHED,
    LOOKED_UP,
    CLAIMED,
    USAGE_CLAIMED,
)


class ClientCount(NamedTuple):
    """A line of the client's ledger."""

    rule: Rule
    what: str
    metric: str
    labels: tuple[dict[str, str], ...]
    """The server's count is the sum over these."""
    least: int
    most: int
    """More than the least by what requests explain whose end leaves open what the server did for them."""


def compare(history: History, window: Window, found: Findings) -> None:
    """Hold the server's counts of a window against the client's and against the copies."""
    _client(window, found)
    _cached(history, window, found)
    _lookups(window, found)
    if history.plan.scenario.server.offload:
        _loads(history, window, found)


def _client(window: Window, found: Findings) -> None:
    """What the client counted is what the server counted; less where a request did not end well."""
    for entry in _entries(window):
        parts = [window.growth(entry.metric, **labels) for labels in entry.labels]
        present = [part for part in parts if part is not None]
        if not present:
            window.lacks(found, entry.metric)
            continue
        server = sum(present)
        found.checked += 1
        if not entry.least <= server <= entry.most:
            text = f"the client counted {entry.least} {entry.what}, the server {server:g}"
            figures = {"client": entry.least, "server": server}
            window.violation(found, entry.rule, text, figures, entry.metric)


def _entries(window: Window) -> Iterator[ClientCount]:
    generated = sum(
        [
            len(record.token_ids) if record.usage is None else record.usage.completion_tokens
            for record in window.requests
        ]
    )
    # A prompt surely was read only where a token came back; the server reads it once for each choice.
    cut_off = [record for record in window.others if record.token_ids]
    prompt = window.prompt_tokens + sum(record.prompt_tokens * record.choices for record in cut_off)
    answered = sum(window.choices)
    begun = answered + len(cut_off)
    reasons = ({"finished_reason": "length"}, {"finished_reason": "stop"})

    extra = window.spare
    most = generated + extra.generated_tokens
    yield ClientCount(GENERATED_TOKENS, "generated tokens", GENERATED, ({},), generated, most)
    yield ClientCount(PROMPT_TOKENS, "prompt tokens", PROMPT, ({},), prompt, prompt + extra.prompt_tokens)
    yield ClientCount(FINISHED, "requests answered", SUCCESS, reasons, answered, answered + extra.requests)
    abandoned = sum(_abandoned(record) for record in window.requests if record.error is not None)
    if abandoned:
        # For which reason is open: the server may have come to the end before it heard that nobody listens.
        ended = answered + abandoned
        what = "requests that ended or that it abandoned"
        yield ClientCount(ABANDONED_FINISHED, what, SUCCESS, ({},), ended, answered + extra.requests)
    given_up = sum(not record.token_ids and not _refused(record) for record in window.strays)
    most_begun = begun + given_up
    yield ClientCount(
        FIRST_TOKEN_COUNT, "requests with a first token", FIRST_TOKENS, ({},), begun, most_begun
    )


def _abandoned(record: RequestRecord) -> bool:
    """Whether the client left on purpose in mid-answer, so that the server surely had the request."""
    return record.error is not None and record.error.kind == ABANDONED and bool(record.token_ids)


def _refused(record: RequestRecord) -> bool:
    """Whether the server itself ended a request without an answer: it knows whether a token came."""
    if record.error is None:
        return False
    return record.error.kind in ENDED_BY_SERVER or (record.status is not None and record.status >= 400)


def _cached(history: History, window: Window, found: Findings) -> None:
    """What the answers say was found in a cache is what the server counted so.

    Only where every request ended well, and is one to the server: the usage of several answers to a
    prompt speaks of the prompt once.
    """
    reported = [record.usage.cached_tokens for record in window.requests if record.usage is not None]
    single = window.single and all(record.choices == 1 for record in window.others)
    if not (reported and single and window.clean) or None in reported:
        return
    if release(history) < FIRST_ADMISSION_COUNTS and window.growth(PREEMPTIONS):
        return
    counted = window.need(found, CACHED)
    if counted is None:
        return
    found.checked += 1
    answers = sum(cached or 0 for cached in reported)
    if answers != counted[0]:
        text = f"answers report {answers} cached tokens in their usage, but the server counted {counted[0]:g}"
        figures = {"answers": answers, "server": counted[0]}
        window.violation(found, USAGE_CACHED, text, figures, CACHED)


def _lookups(window: Window, found: Findings) -> None:
    """Judge lookups: a prompt is looked up in the tier once, when it is admitted.

    A lookup after a preemption is not counted.
    """
    queries = window.need(found, f"{EXTERNAL}_queries_total")
    if queries is None:
        return
    # Once for each choice, since the server makes a request of each. A stray of this window counts once.
    rest = {record.id: record.prompt_tokens * record.choices for record in (*window.others, *window.strays)}
    found.checked += 1
    figures = {"looked_up": queries[0], "prompt": window.prompt_tokens + sum(rest.values())}
    if figures["looked_up"] > figures["prompt"]:
        text = f"{queries[0]:g} tokens were looked up in the tier for only {figures['prompt']} prompt tokens"
        window.violation(found, LOOKED_UP, text, figures, f"{EXTERNAL}_queries_total")


def _loads(history: History, window: Window, found: Findings) -> None:
    """No more tokens are said to come from the tier than were copied from there and not reported as failed.

    Copies for a request that was preempted are copies too, so this is an upper bound.
    """
    token_bytes = history.plan.kv_token_bytes
    if token_bytes is None and not history.plan.starts_server:
        return
    claimed = window.growth(BY_SOURCE, source="external_kv_transfer")
    hits = window.growth(f"{LOCAL}_hits_total")
    preempted = window.growth(PREEMPTIONS)
    if token_bytes is None or claimed is None or hits is None or preempted is None:
        text = f"{window.name}: copies and tokens cannot be compared"
        found.gap("copies-not-comparable", text, window.subject)
        return
    copied = (loaded_bytes(window.growth) or 0.0) / token_bytes
    in_vain = _failed_blocks(history, window) * history.plan.scenario.server.block_size
    copies = f"{copied - in_vain:g} were copied from it for use ({copied:g} less {in_vain} in vain)"
    figures = {"copied": copied, "in_vain": in_vain}
    found.checked += 1
    if claimed > copied - in_vain:
        text = f"the server counts {claimed:g} prompt tokens from the tier, but {copies}"
        claims = {"claimed": claimed, **figures}
        window.violation(found, CLAIMED, text, claims, BY_SOURCE, source="external_kv_transfer")
    if release(history) < FIRST_ADMISSION_COUNTS and preempted:
        return
    usages = (record.usage for record in window.requests if record.usage is not None)
    cached = sum(usage.cached_tokens or 0 for usage in usages)
    found.checked += 1
    if cached > hits + copied - in_vain:
        used = f"{hits:g} were hit on the device and {copied - in_vain:g} were copied from the tier for use"
        text = f"answers report {cached} cached tokens in their usage, but {used}"
        claims = {"answers": cached, "hits": hits, **figures}
        window.violation(found, USAGE_CLAIMED, text, claims, f"{LOCAL}_hits_total")


def _failed_blocks(history: History, window: Window) -> int:
    """Blocks loaded in vain in a window, at least, by the fault journal."""
    times = window.log.times_ns
    since = times[window.first] if window.first is not None else window.since_ns
    chosen = {fault.id: str(fault.params.get("blocks")) for fault in history.plan.scenario.faults}
    return sum(
        _useless_blocks(record, chosen.get(record.fault or "", ""))
        for record in history.faults
        if record.event == "fired" and since < record.t_ns <= times[window.last]
    )


def _useless_blocks(record: FaultRecord, chosen: str) -> int:
    """Blocks of a failed load from the first failed one on, at least: what follows it is of no use either."""
    match record.firing:
        case LoadFailed(blocks=count):
            return count
        case LoadBlocksFailed(blocks=blocks, of=of):
            return {"first": of, "middle": of - of // 2}.get(chosen, len(blocks))
        case _:
            return 0
