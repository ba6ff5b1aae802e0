"""riskwatch: real-time risk and counterparty exposure, explained and switchable."""

from riskwatch.version import ENGINE

__all__ = ["ENGINE", "__version__"]

__version__ = ENGINE
