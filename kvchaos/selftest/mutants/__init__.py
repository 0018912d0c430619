"""The mutants: what each alters, and which rules must find it."""
