"""`python -m kvchaos`."""

from kvchaos.cli.app import main

main()
