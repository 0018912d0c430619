"""One night as a job of a CI system, and the branch on which the history is published."""
