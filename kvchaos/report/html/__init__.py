"""report.html: one file that shows a run to somebody who was not there."""
