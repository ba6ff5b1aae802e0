"""Audit bundles: files in a folder, a manifest with their digests, and its signature.

With the public key, anybody can check a bundle years later, without a database and without
riskwatch. ``manifest.sig`` is an Ed25519 signature over :data:`DOMAIN` and the bytes of
``manifest.json``, which lists every file with its SHA-256.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import msgspec

from riskwatch.contracts.audit import AuditLink
from riskwatch.contracts.signing import is_signed, public_key_text
from riskwatch.errors import RiskwatchError
from riskwatch.store.audit_check import ChainVerifier, check_chain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

DOMAIN: Final = b"riskwatch/audit-bundle/v1\n"
MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.sig"
CHAIN: Final = "chain.jsonl"
REPORT: Final = "report.html"


class BundleError(RiskwatchError):
    """A bundle cannot be written or read."""


class BundleFile(msgspec.Struct, frozen=True):
    """One file of a bundle: SHA-256 (hexadecimal) and size in bytes."""

    sha256: str
    bytes: int


class BundleManifest(msgspec.Struct, frozen=True, kw_only=True, tag="riskwatch_audit_bundle"):
    """Manifest of a bundle.

    Attributes
    ----------
    v : int
        Version of this format, 1.
    worker : str
        Worker of the audit chain.
    begin, end : str
        Requested interval of event time, RFC 3339.
    first, last : int
        First and last row of the chain; 0 and 0 if there are none.
    before, after : str
        Digests before the first row and of the last row.
    engine, made : str
        Version that wrote the bundle, and time of writing.
    key : str
        Public key of the signature, 64 hexadecimal digits.
    files : dict of str to BundleFile
        Every file except the manifest and its signature.
    deployment : str
        Deployment of the database, ``embedded`` for replays in one process; empty in bundles of
        builds that knew no deployments.
    """

    v: int
    worker: str
    begin: str
    end: str
    first: int
    last: int
    before: str
    after: str
    engine: str
    made: str
    key: str
    files: dict[str, BundleFile]
    deployment: str = ""


def json_lines(rows: Iterable[Any]) -> bytes:
    """Encode rows as JSON Lines."""
    return b"".join(msgspec.json.encode(row, order="deterministic") + b"\n" for row in rows)


def write_bundle(
    folder: Path, files: Mapping[str, bytes], manifest: BundleManifest, key: Ed25519PrivateKey
) -> BundleManifest:
    """Write files, manifest and signature into a new or empty folder; return the manifest.

    Raises
    ------
    BundleError
        If the folder is not empty, or cannot be written.
    """
    listed = {
        name: BundleFile(sha256(data).hexdigest(), len(data))
        for name, data in sorted(files.items())
    }
    signed = msgspec.structs.replace(manifest, key=public_key_text(key.public_key()), files=listed)
    body = msgspec.json.format(msgspec.json.encode(signed), indent=2) + b"\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise BundleError(f"{folder}: is not empty")
        for name, data in files.items():
            (folder / name).write_bytes(data)
        (folder / MANIFEST).write_bytes(body)
        (folder / SIGNATURE).write_text(key.sign(DOMAIN + body).hex() + "\n", encoding="ascii")
    except OSError as error:
        raise BundleError(f"{error.filename}: {error.strerror}") from error
    return signed


def read_manifest(folder: Path) -> BundleManifest:
    """Read the manifest of a bundle, signed or not.

    Raises
    ------
    BundleError
        If there is none.
    """
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=BundleManifest)
    except OSError as error:
        raise BundleError(f"{error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise BundleError(f"{folder / MANIFEST}: {error}") from error


def check_bundle(
    folder: Path, key: str | None = None, deployment: str | None = None
) -> Iterator[str]:
    """Yield a line for each fault of a bundle; none if it is as signed.

    Parameters
    ----------
    folder : Path
        Folder of the bundle.
    key : str, optional
        Public key that must have signed it. Without it, the key in the manifest is used, which
        detects damage but not forgery.
    deployment : str, optional
        Deployment that the bundle must be of.

    Raises
    ------
    BundleError
        If the manifest cannot be read.
    """
    manifest = read_manifest(folder)
    body = (folder / MANIFEST).read_bytes()
    if key is not None and manifest.key != key:
        yield f"{MANIFEST}: is signed by {manifest.key[:16]} and not by {key[:16]}"
    if deployment is not None and manifest.deployment != deployment:
        named = manifest.deployment or "none"
        yield f"{MANIFEST}: is of deployment {named} and not of {deployment}"
    if not is_signed(manifest.key, _signature(folder), DOMAIN + body):
        yield f"{MANIFEST}: its signature does not hold"
    for name, entry in manifest.files.items():
        yield from _file(folder, name, entry)
    for path in sorted(folder.iterdir()):
        if path.name not in {*manifest.files, MANIFEST, SIGNATURE}:
            yield f"{path.name}: is not in the manifest"
    yield from _chain(folder, manifest)


def _signature(folder: Path) -> bytes:
    try:
        return bytes.fromhex((folder / SIGNATURE).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return b""


def _file(folder: Path, name: str, entry: BundleFile) -> Iterator[str]:
    if "/" in name or "\\" in name or name.startswith("."):
        yield f"{name}: is no name of a file of a bundle"
        return
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        yield f"{name}: {error.strerror}"
        return
    if (len(data), sha256(data).hexdigest()) != (entry.bytes, entry.sha256):
        yield f"{name}: was changed"


def _chain(folder: Path, manifest: BundleManifest) -> Iterator[str]:
    """Verify the chain itself, because a valid signature may cover a broken chain."""
    try:
        data = (folder / CHAIN).read_bytes()
        rows = [msgspec.json.decode(line, type=AuditLink) for line in data.splitlines()]
    except (OSError, ValueError) as error:
        yield f"{CHAIN}: cannot be read: {error}"
        return
    chain = ChainVerifier(manifest.worker, max(manifest.first - 1, 0), manifest.before)
    yield from check_chain(rows, chain)
    if (chain.rows, chain.digest) != (_rows(manifest), manifest.after):
        yield f"{CHAIN}: does not end where the manifest says"


def _rows(manifest: BundleManifest) -> int:
    return manifest.last - manifest.first + 1 if manifest.first else 0
