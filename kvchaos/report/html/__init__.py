"""report.html: a self-contained page with verdict, charts and evidence of a run."""
