"""Calibration: how far right answers of a server differ, so that oracles allow this much and no more."""
