"""Proof of the nightly decision: known delays, equal nights and bisections, on stored and live pairs."""
