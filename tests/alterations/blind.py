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

BLIND: dict[str, str] = {
    "client/busy": SOMETIMES,
    "client/collector": CLIENT,
    "client/slow": CLIENT,
    "events/canary-failed-between": MASKED,
    "events/drain-failed": MASKED,
    "events/drain-running": EVENT,
    "events/drain-usage": EVENT,
    "events/drain-waiting": EVENT,
    "events/leak-silent": SOMETIMES,
    "events/no-armed": EVENT,
    "events/no-healed": SOMETIMES,
    "events/no-health": SOMETIMES,
    "events/no-server_ready": EVENT,
    "events/no-server_start": EVENT,
    "events/no-server_stop": EVENT,
    "events/phase-failed": EVENT,
    "events/phase-stalled": EVENT,
    "events/started-again": EVENT,
    "events/stop-killed": EVENT,
    "events/unclean": EVENT,
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
    "ledger/loads-more": BALANCE,
    "ledger/resident": BALANCE,
    "ledger/scheduler-lost": SOMETIMES,
    "ledger/stale": BALANCE,
    "ledger/store-open": SOMETIMES,
    "ledger/stores-more": BALANCE,
    "ledger/worker-lost": SOMETIMES,
    "log/abort": MASKED,
    "log/assertion": MASKED,
    "log/bus-error-shell": MASKED,
    "log/cut": SOMETIMES,
    "log/decrement": MASKED,
    "log/engine-dead": MASKED,
    "log/exception": PATTERN,
    "log/nccl": PATTERN,
    "log/oom-kill": MASKED,
    "log/segfault-native": PATTERN,
    "log/stack-smashing": PATTERN,
    "log/tcmalloc": PATTERN,
    "log/traceback": MASKED,
    "log/undefined-symbol": PATTERN,
    "metrics/external_prefix_cache_queries_total/jump": MORE,
    "metrics/inter_token_latency_seconds/bucket-jump": SOMETIMES,
    "metrics/kv_offload_cpu_allocation_size/freeze": STILL,
    "metrics/kv_offload_cpu_allocation_size/sum-back": MASKED,
    "metrics/kv_offload_lookup_sync_delay_seconds/freeze": STILL,
    "metrics/prefix_cache_queries_total/jump": MORE,
    "metrics/prompt_tokens_cached_total/jump": SOMETIMES,
    "metrics/request_generation_tokens/freeze": STILL,
    "metrics/request_max_num_generation_tokens/sum-back": MASKED,
    "metrics/request_num_preemptions/freeze": STILL,
    "metrics/request_prefill_kv_computed_tokens/freeze": STILL,
    "metrics/request_time_per_output_token_seconds/freeze": STILL,
    "metrics/request_time_per_output_token_seconds/sum-back": MASKED,
    "plan/expects": PLAN,
    "plan/no-expectation": PLAN,
    "plan/phase-lost": PLAN,
    "requests/aborted": REQUEST,
    "requests/cached-lost": REQUEST,
    "requests/cached-odd": SOMETIMES,
    "requests/cached-whole": REQUEST,
    "requests/deadline": MASKED,
    "requests/frozen": REQUEST,
    "requests/prompt-tokens-both": SOMETIMES,
    "requests/reset": MASKED,
    "requests/truncated": MASKED,
    "resources/end-lost": RESOURCE,
    "resources/files": SOMETIMES,
    "resources/leader": RESOURCE,
    "resources/memory": RESOURCE,
    "resources/processes-fewer": RESOURCE,
    "resources/stale": SOMETIMES,
}
