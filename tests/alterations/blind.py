"""Kinds that are not noticed by their rule yet, each with what is missing.

Made of what `python -m tests.alterations --runs 3` printed. A kind that is noticed on some runs only is
here, too.
"""

from __future__ import annotations

STILL = "no rule relates it to what the client or the audit counted"
MORE = "no rule bounds it from above"
REQUEST = "no rule reads the field in this sense"
CLIENT = "the bounds of the client are judged by other fields"
RESOURCE = "too few quiet moments, or the age and the owner of samples are not compared"
EVENT = "no rule reads the field, or misses the event"
JOURNAL = "no rule compares the line with the plan or the other lines"
BALANCE = "no rule compares the balance with other counts, or its age"
PATTERN = "no pattern of errors has the line"
PLAN = "the plan is not compared with what was done"
MASKED = "an expected failure or a declared effect of some runs covers the finding"
SOMETIMES = "it depends on the run: windows with a fault, an abort or a restart have wider bounds"
COUNTED = "no rule compares how a phase ended by its last event with the records of its requests"
BEGUN = "the bytes of transfers bound what had begun from below, and nothing bounds it from above"
LOOKUPS = "lookups that are tried again, or of abandoned requests, leave more room than the jump takes"
FITS = "a thousand short gaps more still fit the next bucket and the sum"
ALLOCATED = "a store may have had its room before: the allocations still exceed the stores"
LOOKED = "no law relates the number of lookups to the requests that were admitted"
ANY_SERIES = "an expected counters/decreased covers every series"
NO_USAGE = "one answer without cached tokens switches off the comparison of its window"
MOMENT = "a server that is left up has no last sample of its own, and an earlier one stands for it"
FIRST = "after a restart the altered samples are those of the first quiet moment, too"

BLIND: dict[str, str] = {
    "events/leak-silent": SOMETIMES,
    "events/no-armed": EVENT,
    "events/no-healed": SOMETIMES,
    "events/no-health": SOMETIMES,
    "events/no-server_ready": EVENT,
    "events/no-server_start": EVENT,
    "events/no-server_stop": EVENT,
    "events/phase-failed": COUNTED,
    "events/phase-stalled": EVENT,
    "faults/no-evidence": SOMETIMES,
    "faults/no-journal": SOMETIMES,
    "faults/not-armed": JOURNAL,
    "faults/not-fired": SOMETIMES,
    "faults/not-healed": JOURNAL,
    "faults/not-loaded": JOURNAL,
    "faults/other-request": JOURNAL,
    "faults/other-site": JOURNAL,
    "faults/too-often": SOMETIMES,
    "ledger/audited-none": BALANCE,
    "ledger/load-open": SOMETIMES,
    "ledger/loads-more": BEGUN,
    "ledger/scheduler-lost": SOMETIMES,
    "ledger/stale": BALANCE,
    "ledger/store-open": SOMETIMES,
    "ledger/stores-more": BEGUN,
    "ledger/worker-lost": SOMETIMES,
    "log/abort": MASKED,
    "log/assertion": MASKED,
    "log/bus-error-shell": MASKED,
    "log/cut": SOMETIMES,
    "log/decrement": MASKED,
    "log/engine-dead": MASKED,
    "log/nccl": PATTERN,
    "log/oom-kill": MASKED,
    "log/segfault-native": PATTERN,
    "log/stack-smashing": PATTERN,
    "log/tcmalloc": PATTERN,
    "log/traceback": MASKED,
    "log/undefined-symbol": PATTERN,
    "metrics/external_prefix_cache_queries_total/jump": LOOKUPS,
    "metrics/inter_token_latency_seconds/bucket-jump": FITS,
    "metrics/kv_offload_cpu_allocation_size/freeze": ALLOCATED,
    "metrics/kv_offload_cpu_allocation_size/sum-back": ANY_SERIES,
    "metrics/kv_offload_lookup_sync_delay_seconds/freeze": LOOKED,
    "metrics/prefix_cache_queries_total/jump": LOOKUPS,
    "metrics/prompt_tokens_cached_total/jump": LOOKUPS,
    "metrics/request_max_num_generation_tokens/sum-back": ANY_SERIES,
    "metrics/request_time_per_output_token_seconds/sum-back": ANY_SERIES,
    "plan/expects": PLAN,
    "plan/no-expectation": PLAN,
    "plan/phase-lost": PLAN,
    "requests/aborted": REQUEST,
    "requests/cached-lost": NO_USAGE,
    "resources/end-lost": MOMENT,
    "resources/files": FIRST,
    "resources/leader": MOMENT,
}
