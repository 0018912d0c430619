"""Reports of a run, for people and machines: summary, JUnit file, HTML page, tables."""
