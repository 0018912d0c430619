"""Performance tracked night by night: interleaved pairs, decisions, the history, exports, and the page."""
