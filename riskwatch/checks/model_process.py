"""Runs a model in a process of its own, with another hash seed.

``python -m riskwatch.checks.model_process`` reads the output of
:func:`~riskwatch.checks.subject.encode_subject` from stdin, and prints the digest of the model's
scores.
"""

from __future__ import annotations

import pickle
import sys
from base64 import b64decode
from typing import Final

from riskwatch.checks.subject import Subject, digest_of, score_stream

EXAMPLES: Final = 300


def digest(subject: Subject) -> str:
    """Return the digest of the scores of a fresh model on the examples."""
    return digest_of(score_stream(subject.make(), subject.examples(EXAMPLES)))


def main() -> None:
    """Print the digest for the subject on stdin, which the parent process wrote."""
    subject = pickle.loads(b64decode(sys.stdin.buffer.read()))  # noqa: S301
    if not isinstance(subject, Subject):
        raise TypeError(f"stdin must hold a Subject, was {type(subject).__name__}")
    sys.stdout.write(digest(subject))


if __name__ == "__main__":
    main()
