"""The mutants: what each alters, and which oracles must find it, with which words."""
