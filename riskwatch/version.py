"""The engine version, which is part of every output and every id."""

from typing import Final

ENGINE: Final = "0.3.0"
"""Version of the decision engine, which is the version of the package.

Output ids are digests that include it. The same journal under another engine therefore never yields
an id that an older engine published. Raise it with every change after which old events mean
something else: another decision, another number in an output, another state row. `CONTRIBUTING.md`
says how. Decisions of an older engine are checked by the policy, and a newer engine never reports
them as wrong.
"""
