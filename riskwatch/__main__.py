"""``python -m riskwatch``: the command line, where its script is not on the path."""

from riskwatch.cli import main

main()
