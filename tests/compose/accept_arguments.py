"""Reads a server's arguments as vLLM 0.32.0 does at its start. Run by the interpreter that has it.

The arguments come as JSON on standard input; what was understood of some goes out as JSON.
"""

from __future__ import annotations

import json
import sys

from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.utils.argparse_utils import FlexibleArgumentParser


def main() -> None:
    args = make_arg_parser(FlexibleArgumentParser()).parse_args(json.load(sys.stdin))
    validate_parsed_serve_args(args)
    offload = args.kv_transfer_config
    understood = {
        "model": args.model,
        "host": args.host,
        "blocks": args.num_gpu_blocks_override,
        "max_model_len": args.max_model_len,
        "eager": args.enforce_eager,
        "tensor_parallel": args.tensor_parallel_size,
        "memory_share": args.gpu_memory_utilization,
        "connector": offload.kv_connector,
        "tier_bytes": offload.kv_connector_extra_config["cpu_bytes_to_use"],
    }
    sys.stdout.write(json.dumps(understood))


if __name__ == "__main__":
    main()
