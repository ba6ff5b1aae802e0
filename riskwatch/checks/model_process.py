"""Runs a model in a process of its own, so that its hash seed is another.

``python -m riskwatch.checks.model_process`` reads what :func:`courier` wrote from stdin, and
prints the digest of what the model said.
"""

from __future__ import annotations

import pickle
import sys
from base64 import b64decode
from typing import Final

from riskwatch.checks.subject import Subject, digest_of, score_stream

EXAMPLES: Final = 300


def digest(subject: Subject) -> str:
    """Digest of what a fresh model says along the stream."""
    return digest_of(score_stream(subject.make(), subject.examples(EXAMPLES)))


def main() -> None:
    """Print the digest of the subject on stdin, which the parent process wrote."""
    subject = pickle.loads(b64decode(sys.stdin.buffer.read()))  # noqa: S301
    if not isinstance(subject, Subject):
        raise TypeError(f"stdin must hold a Subject, was {type(subject).__name__}")
    sys.stdout.write(digest(subject))


if __name__ == "__main__":
    main()
