"""The engine version that every output and every id is bound to."""

from typing import Final

ENGINE: Final = "0.1.0"
"""Version of the decision engine. Output ids are digests that include it, so the same
journal under another engine never yields an id that an older engine published."""
