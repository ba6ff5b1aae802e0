"""Bundles: signed, checked offline, and every change is found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from riskwatch.contracts import keyfile
from riskwatch.contracts.audit import GENESIS
from riskwatch.contracts.signing import public_key_text
from riskwatch.store.audit import audit_rows
from riskwatch.store.bundle import (
    CHAIN,
    MANIFEST,
    SIGNATURE,
    BundleError,
    BundleManifest,
    check_bundle,
    json_lines,
    read_manifest,
    write_bundle,
)
from tests.support.audit import WORKER, fill_chain

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.engine import Engine


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """Return a key for bundles."""
    path = tmp_path / "audit.key"
    keyfile.create_private_key(path)
    return path


@pytest.fixture
def folder(engine: Engine, tmp_path: Path, key: Path) -> Path:
    """Return the folder of a bundle of the rows 3 to 8."""
    fill_chain(engine, 6)
    with engine.connect() as conn:
        rows = list(audit_rows(conn, WORKER))[2:8]
    manifest = BundleManifest(
        v=1,
        worker=WORKER,
        begin="",
        end="",
        first=3,
        last=8,
        before=rows[0].previous,
        after=rows[-1].digest,
        engine="0",
        made="",
        key="",
        files={},
    )
    out = tmp_path / "bundle"
    files = {CHAIN: json_lines(rows), "report.html": b"<p>all is well</p>"}
    write_bundle(out, files, manifest, keyfile.read_private_key(key))
    return out


def test_a_bundle_is_as_it_was_signed(folder: Path, key: Path) -> None:
    """It passes with its own key, and with the trusted key."""
    assert list(check_bundle(folder)) == []
    trusted = public_key_text(keyfile.read_private_key(key).public_key())
    assert list(check_bundle(folder, trusted)) == []
    assert read_manifest(folder).key == trusted


def test_another_signer_is_told_from_the_trusted_one(folder: Path, tmp_path: Path) -> None:
    """A bundle signed with another key fails the check against the trusted key."""
    trusted = public_key_text(keyfile.create_private_key(tmp_path / "forger").public_key())
    (breach,) = check_bundle(folder, trusted)
    assert breach.startswith("manifest.json: is signed by ")


@pytest.mark.parametrize("name", [CHAIN, "report.html", MANIFEST, SIGNATURE])
def test_any_byte_that_is_changed_shows(folder: Path, name: str) -> None:
    """A changed byte at the beginning, middle or end of any file is found."""
    path = folder / name
    data = path.read_bytes()
    for at in (1, len(data) // 2, len(data) - 3):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        try:
            found = list(check_bundle(folder))
        except BundleError as error:
            found = [str(error)]
        assert found, (name, at)
    path.write_bytes(data)
    assert list(check_bundle(folder)) == []


def test_files_that_come_and_go_show(folder: Path) -> None:
    """An additional and a missing file are found."""
    (folder / "more.txt").write_text("x")
    assert list(check_bundle(folder)) == ["more.txt: is not in the manifest"]
    (folder / "more.txt").unlink()
    (folder / "report.html").unlink()
    assert list(check_bundle(folder)) == ["report.html: No such file or directory"]


def test_rows_are_followed_whoever_signed(folder: Path, key: Path, tmp_path: Path) -> None:
    """A broken chain is found even if the signature is valid."""
    manifest = read_manifest(folder)
    rows = (folder / CHAIN).read_bytes().splitlines(keepends=True)
    for wrong, breach in (
        (rows[:2] + rows[3:], "row 5 must come after row 4"),
        (rows[:-1], "does not end where the manifest says"),
    ):
        out = tmp_path / breach.replace(" ", "_")
        write_bundle(out, {CHAIN: b"".join(wrong)}, manifest, keyfile.read_private_key(key))
        assert any(breach in line for line in check_bundle(out))
    moved = msgspec.structs.replace(manifest, before=GENESIS)
    write_bundle(tmp_path / "moved", {CHAIN: b"".join(rows)}, moved, keyfile.read_private_key(key))
    assert any("another row stood before" in line for line in check_bundle(tmp_path / "moved"))


def test_a_manifest_cannot_point_elsewhere(folder: Path, key: Path, tmp_path: Path) -> None:
    """Names with a path are refused and not opened."""
    (tmp_path / "secret").write_text("x")
    manifest = read_manifest(folder)
    files = {**manifest.files, "../secret": manifest.files[CHAIN]}
    body = msgspec.json.encode(msgspec.structs.replace(manifest, files=files))
    (folder / MANIFEST).write_bytes(body)
    assert "../secret: is no name of a file of a bundle" in list(check_bundle(folder))
    del key


def test_nothing_is_overwritten(folder: Path, key: Path) -> None:
    """Writing into a folder with files fails, and so does reading a folder without a bundle."""
    with pytest.raises(BundleError, match="is not empty"):
        write_bundle(folder, {}, read_manifest(folder), keyfile.read_private_key(key))
    with pytest.raises(BundleError, match="No such file"):
        read_manifest(folder / "nowhere")
