"""Kinds that are not noticed by their rule yet, each with what is missing.

Made of what `python -m tests.alterations` printed, two or three runs a kind. One noticed on some runs only is
here, too.
"""

from __future__ import annotations

COUNTED = "no rule compares how a phase ended by its last event with the records of its requests"
LOOKUPS = "lookups that are tried again, or of abandoned requests, leave more room than the jump takes"
FITS = "a thousand short gaps more still fit the next bucket and the sum"
ALLOCATED = "a store may have had its room before: the allocations still exceed the stores"
LOOKED = "no law relates the number of lookups to the requests that were admitted"
NO_USAGE = "one answer without cached tokens switches off the comparison of its window"
MOMENT = "a server that is left up has no last sample of its own, and an earlier one stands for it"
FIRST = "after a restart the altered samples are those of the first quiet moment, too"
EARLIER_EXIT = "of a run whose server was ended once the exit of an earlier life stands for the stop"
ONLY_RECORD = "of a fault from outside nothing but the journal says that it struck"
ENDED = "a process that a fault ended owes no line, and which one that was is not compared"
NO_FIRING = "a journal is compared with itself only where it has firings"
HITS_ALONE = "lookups are bounded from below by the hits alone, and few prompts come again"
LEFT = "the histogram of preemptions has no request that its client left, so the counter may exceed it"
PHASES = "what was done in a phase that the plan does not have is not looked for"

BLIND: dict[str, str] = {
    "events/no-server_stop": EARLIER_EXIT,
    "events/phase-failed": COUNTED,
    "faults/no-journal": ONLY_RECORD,
    "faults/not-fired": ONLY_RECORD,
    "faults/not-healed": ENDED,
    "faults/not-loaded": NO_FIRING,
    "metrics/external_prefix_cache_queries_total/freeze": HITS_ALONE,
    "metrics/external_prefix_cache_queries_total/jump": LOOKUPS,
    "metrics/inter_token_latency_seconds/bucket-jump": FITS,
    "metrics/kv_offload_cpu_allocation_size/freeze": ALLOCATED,
    "metrics/kv_offload_lookup_sync_delay_seconds/freeze": LOOKED,
    "metrics/num_preemptions_total/jump": LEFT,
    "metrics/prefix_cache_queries_total/freeze": HITS_ALONE,
    "metrics/prefix_cache_queries_total/jump": LOOKUPS,
    "metrics/prompt_tokens_cached_total/jump": LOOKUPS,
    "plan/phase-lost": PHASES,
    "requests/cached-lost": NO_USAGE,
    "resources/end-lost": MOMENT,
    "resources/files": FIRST,
    "resources/leader": MOMENT,
}
