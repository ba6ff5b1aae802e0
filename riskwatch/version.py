"""The engine version that every output and every id is bound to."""

from typing import Final

ENGINE: Final = "0.1.0"
"""Version of the decision engine, which is the version of the package.

Output ids are digests that include it, so the same journal under another engine never yields an
id that an older engine published. Raise it with every change after which old events mean something
else: another decision, another number in an output, another state row. `CONTRIBUTING.md` says how.
What an older engine decided is checked by the policy, and is never called wrong by a newer one.
"""
