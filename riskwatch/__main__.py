"""The entry point of ``python -m riskwatch``, which runs the command line."""

from riskwatch.cli import main

main()
