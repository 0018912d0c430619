"""Stability night by night: a mix of runs, a positive control, signatures of failures, and their states."""
