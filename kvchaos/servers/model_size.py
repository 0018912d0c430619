"""How large a model is, by its `config.json`: weights, KV cache of a token, longest context."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kvchaos.errors import UsageError

BYTES_OF = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True, slots=True)
class ModelSize:
    """Sizes of one model."""

    weight_bytes: int
    token_bytes: int
    """KV cache of a token over all layers, bytes."""
    kv_heads: int
    most_context: int
    """Tokens."""


def read_model_size(folder: Path, cache_number_bytes: int | None = None) -> ModelSize:
    """Raises UsageError for a folder without a `config.json` that names all sizes."""
    path = folder / "config.json"
    try:
        return model_size(json.loads(path.read_bytes()), cache_number_bytes)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}; give a model's folder") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: sizes of the model are missing or unknown: {error}") from error


def model_size(config: Mapping[str, Any], cache_number_bytes: int | None = None) -> ModelSize:
    """Sizes of a dense decoder with gated feed-forward layers, such as Llama's and Qwen's.

    `cache_number_bytes`: bytes of a number in the KV cache; None: as in the weights.
    Raises KeyError, TypeError or ValueError for a configuration of another kind.
    """
    hidden, layers = int(config["hidden_size"]), int(config["num_hidden_layers"])
    heads, kv_heads, head, width = (int(config["num_attention_heads"]), *_head_sizes(config))
    attention = hidden * head * (2 * heads + 2 * kv_heads)
    feed_forward = 3 * hidden * int(config["intermediate_size"])
    embeddings = int(config["vocab_size"]) * hidden * (1 if config.get("tie_word_embeddings") else 2)
    return ModelSize(
        weight_bytes=(layers * (attention + feed_forward) + embeddings) * width,
        token_bytes=kv_token_bytes(config, cache_number_bytes),
        kv_heads=kv_heads,
        most_context=int(config["max_position_embeddings"]),
    )


def kv_token_bytes(config: Mapping[str, Any], cache_number_bytes: int | None = None) -> int:
    """KV cache of a token over all layers: keys and values. Raises as `model_size`."""
    kv_heads, head, width = _head_sizes(config)
    return int(2 * config["num_hidden_layers"] * kv_heads * head * (cache_number_bytes or width))


def _head_sizes(config: Mapping[str, Any]) -> tuple[int, int, int]:
    """Number of KV heads, size of a head, bytes of a number."""
    heads = config["num_attention_heads"]
    return (
        int(config.get("num_key_value_heads") or heads),
        int(config.get("head_dim") or config["hidden_size"] // heads),
        BYTES_OF[config.get("dtype") or config["torch_dtype"]],
    )
