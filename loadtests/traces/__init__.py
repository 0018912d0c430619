"""Recorded traffic: its formats, each line an entry; `trace_file` reads them in bounded memory."""
