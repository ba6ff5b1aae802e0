"""A dead letter in words, and as JSON: nothing in it steers the terminal that it is shown on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import typer

from riskwatch.core.clock import text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from riskwatch.store.letters import Heading, Letter

HEX: Final = 4096
"""Most bytes that are shown as hexadecimal digits."""
_WIDTH: Final = 32


def printable(said: str, keep: str = "") -> str:
    r"""Text that cannot steer a terminal.

    Examples
    --------
    >>> printable("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return "".join(
        char if char.isprintable() or char in keep
        else char.encode("unicode_escape", "surrogatepass").decode()
        for char in said
    )  # fmt: skip


def row_of(heading: Heading) -> Iterable[Any]:
    """Cells of a letter in the list."""
    place = heading.place
    yield from (printable(place.id), place.worker, heading.reason, printable(heading.detail))
    yield from (heading.payload_bytes, text(heading.us) if heading.us else "")
    yield printable(heading.replayed_by or "")


def plain_heading(heading: Heading) -> dict[str, Any]:
    """Heading of a letter for JSON."""
    place = heading.place
    where = {"worker": place.worker, "stream": place.stream, "position": place.position}
    return {"id": place.id} | where | {
        "reason": heading.reason, "detail": heading.detail, "bytes": heading.payload_bytes,
        "us": heading.us, "replayed_by": heading.replayed_by,
    }  # fmt: skip


def told(letter: Letter) -> Iterable[str]:
    """Lines that show all of a letter; bytes that are no UTF-8 as hexadecimal digits."""
    heading = letter.heading
    place = heading.place
    yield f"id        {printable(place.id)}"
    yield f"worker    {place.worker}"
    yield f"reason    {heading.reason}: {printable(heading.detail)}"
    if heading.us:
        yield f"at        {text(heading.us)} (event time of the worker)"
    if heading.replayed_by is not None:
        yield f"replayed  by {printable(heading.replayed_by)}"
    yield f"key       {'none' if letter.key is None else _shown(letter.key)}"
    for name, value in letter.headers:
        yield f"header    {printable(name)}: {_shown(value)}"
    yield f"payload   {len(letter.payload)} bytes, SHA-256 {letter.sha256}"
    kind, said = readable(letter.payload)
    if kind == "text":
        yield printable(said, "\n\t")
        return
    for at in range(0, min(len(letter.payload), HEX), _WIDTH):
        yield f"{at:>8x}  {letter.payload[at : at + _WIDTH].hex(' ')}"
    if len(letter.payload) > HEX:
        yield f"and {len(letter.payload) - HEX} bytes more: --raw gives all"


def _shown(data: bytes) -> str:
    kind, said = readable(data)
    return printable(said) if kind == "text" else f"hex {said}"


def readable(data: bytes) -> tuple[str, str]:
    """``text`` and the text, or ``hex`` and the digits."""
    try:
        return "text", data.decode()
    except UnicodeDecodeError:
        return "hex", data.hex()


def show_json(row: dict[str, Any]) -> None:
    """Print one line of NDJSON."""
    typer.echo(msgspec.json.encode(row).decode())
