"""Offloading without a GPU: plain tensor copies in place of vLLM's CUDA worker, and nothing else.

vLLM's own CPU offload spec refuses the CPU platform only where its worker is made. The specs here
give it a worker; scheduler, manager, connector and metrics stay vLLM's own. No fault code lives here.
"""
