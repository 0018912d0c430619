"""What the ledger holds vLLM to. Ids of rules in the journals: they stay, judges know them."""

from __future__ import annotations

STORED_TWICE = "block-stored-twice"
CHUNK_SHARED = "chunk-shared"
STORE_NOT_BEGUN = "store-not-begun"
LOADED_BEFORE_STORED = "loaded-before-stored"
LOADED_ELSEWHERE = "loaded-from-other-chunk"
LOAD_NOT_BEGUN = "load-not-begun"
EVICTED_WHILE_LOADED = "evicted-while-loaded"
EVICTED_WHILE_STORED = "evicted-while-stored"
SURVIVED_RESET = "survived-reset"
COPY_BEGUN_TWICE = "copy-begun-twice"
COPY_NOT_BEGUN = "copy-not-begun"
CHANGED_IN_TIER = "changed-in-tier"
CHANGED_WHILE_STORED = "changed-while-stored"
CHANGED_WHILE_LOADED = "changed-while-loaded"
