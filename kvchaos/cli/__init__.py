"""The command line. One file for each command; `app` puts them together."""
