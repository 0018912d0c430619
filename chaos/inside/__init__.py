"""The chaos module that vLLM itself loads. It runs in the server's interpreter.

Imports nothing of the suite: only the standard library, numpy, torch, vllm and `chaos.hostcopy`.
It is reached only when the server's offloading connector names it, and acts only while a schedule
lies in its control directory.
"""
