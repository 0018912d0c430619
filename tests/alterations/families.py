"""The families of metrics that vLLM 0.32 exports in the stored runs, and those that nothing else counts."""

from __future__ import annotations

COUNTERS = (
    "process_cpu_seconds_total",
    "vllm:kv_offload_total_bytes_total",
    "vllm:kv_offload_total_time_total",
    "vllm:estimated_flops_per_gpu_total",
    "vllm:estimated_read_bytes_per_gpu_total",
    "vllm:estimated_write_bytes_per_gpu_total",
    "vllm:prefix_cache_queries_total",
    "vllm:prefix_cache_hits_total",
    "vllm:external_prefix_cache_queries_total",
    "vllm:external_prefix_cache_hits_total",
    "vllm:mm_cache_queries_total",
    "vllm:mm_cache_hits_total",
    "vllm:num_preemptions_total",
    "vllm:prompt_tokens_total",
    "vllm:prompt_tokens_by_source_total",
    "vllm:prompt_tokens_cached_total",
    "vllm:prompt_tokens_cached_by_source_total",
    "vllm:generation_tokens_total",
    "vllm:request_success_total",
    "vllm:admission_rejections_total",
    "http_requests_total",
    "vllm:kv_offload_store_bytes_total",
    "vllm:kv_offload_store_time_total",
    "vllm:kv_offload_load_bytes_total",
    "vllm:kv_offload_load_time_total",
    "vllm:kv_offload_allocation_failure_total",
)
GAUGES = (
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:num_requests_waiting_by_reason",
    "vllm:num_requests_kv_fetch_by_stage",
    "vllm:engine_sleep_state",
    "vllm:kv_cache_usage_perc",
    "vllm:kv_offload_cpu_cache_usage_perc",
    "vllm:kv_offload_cpu_cache_write_usage_perc",
    "vllm:kv_offload_cpu_cache_read_usage_perc",
)
HISTOGRAMS = (
    "vllm:kv_offload_size",
    "vllm:request_prompt_tokens",
    "vllm:request_generation_tokens",
    "vllm:iteration_tokens_total",
    "vllm:request_max_num_generation_tokens",
    "vllm:request_params_n",
    "vllm:request_params_max_tokens",
    "vllm:time_to_first_token_seconds",
    "vllm:inter_token_latency_seconds",
    "vllm:request_time_per_output_token_seconds",
    "vllm:e2e_request_latency_seconds",
    "vllm:request_queue_time_seconds",
    "vllm:request_inference_time_seconds",
    "vllm:request_prefill_time_seconds",
    "vllm:request_decode_time_seconds",
    "vllm:request_num_preemptions",
    "vllm:request_prefill_kv_computed_tokens",
    "http_request_duration_highr_seconds",
    "vllm:kv_offload_lookup_sync_delay_seconds",
    "http_request_duration_seconds",
    "vllm:kv_offload_cpu_allocation_size",
    "vllm:kv_offload_store_size",
    "vllm:kv_offload_load_size",
    "vllm:kv_offload_lookup_async_delay_seconds",
)

STAY_AT_ZERO = frozenset(
    {
        "vllm:mm_cache_queries_total",
        "vllm:mm_cache_hits_total",
        "vllm:admission_rejections_total",
    }
)
"""Counters of what no stored run uses."""
ESTIMATE = "an estimate of the server's own: nothing else counts it, and no documentation bounds it"
CLOCK = "a time inside the server: no other clock sees it, and a sum of times has no exact counterpart"
NO_TRACE = "an allocation that is refused leaves no other trace, and the first one brings the series"
WAITED = "nothing else counts the lookups that had to wait, and the first one brings the series"
UNNOTICEABLE: dict[str, str] = {
    "vllm:estimated_flops_per_gpu_total": ESTIMATE,
    "vllm:estimated_read_bytes_per_gpu_total": ESTIMATE,
    "vllm:estimated_write_bytes_per_gpu_total": ESTIMATE,
    "vllm:kv_offload_allocation_failure_total/never": NO_TRACE,
    "vllm:kv_offload_allocation_failure_total/freeze": NO_TRACE,
    "vllm:kv_offload_allocation_failure_total/jump": NO_TRACE,
    "vllm:kv_offload_lookup_async_delay_seconds/never": WAITED,
    "vllm:kv_offload_lookup_async_delay_seconds/freeze": WAITED,
    "process_cpu_seconds_total/jump": CLOCK,
    "process_cpu_seconds_total/freeze": CLOCK,
    "vllm:kv_offload_load_time_total/jump": CLOCK,
    "vllm:kv_offload_load_time_total/freeze": CLOCK,
    "vllm:kv_offload_store_time_total/jump": CLOCK,
    "vllm:kv_offload_store_time_total/freeze": CLOCK,
    "vllm:kv_offload_total_time_total/jump": CLOCK,
    "vllm:kv_offload_total_time_total/freeze": CLOCK,
}
"""Why nobody can notice an alteration of a family, or one mode of it."""
