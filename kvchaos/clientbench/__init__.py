"""Calibration of the load client: the highest load that it can send, measured with the mock server."""
