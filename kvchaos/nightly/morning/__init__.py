"""The page and the summary of a night: the comparison of builds and the search for failures together."""
