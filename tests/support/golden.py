"""The golden messages: one or more per event and output type, kept for ever."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "contract" / "golden" / "v1"


def goldens(*, outputs: bool = False) -> dict[str, bytes]:
    """Bytes by file name without ``.json``; outputs are those that begin with a capital."""
    return {
        path.stem: path.read_bytes().rstrip(b"\n")
        for path in sorted(FOLDER.glob("*.json"))
        if path.stem[0].isupper() == outputs
    }
