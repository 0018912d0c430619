"""The command line. The commands by subject; `app` puts them together."""
