"""What a comparison of policies found, attached to the change of configuration that it was about.

``riskwatch policy diff --attach`` writes the digest of the comparison to ``change.toml`` beside the
files, with the digest of the configuration. The worker that begins with exactly this configuration
records the digest of the comparison with it, so it is in the audit chain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.config.toml import StructReader, read_toml, toml_string

if TYPE_CHECKING:
    from pathlib import Path

    from riskwatch.config.config import Config

CHANGE: Final = "change.toml"


class ChangeNote(msgspec.Struct, frozen=True, kw_only=True):
    """The content of ``change.toml``.

    Attributes
    ----------
    digest : str
        Digest of the configuration that the comparison was about.
    policy_diff : str
        Digest of the comparison, as ``riskwatch policy diff`` printed it.
    """

    digest: str
    policy_diff: str


def attach_diff(folder: Path, config: Config, policy_diff: str) -> None:
    """Write ``change.toml``; it replaces that of an earlier change."""
    lines = (
        "# Written by `riskwatch policy diff --attach`; it counts for this configuration alone.",
        f"digest = {toml_string(config.digest)}",
        f"policy_diff = {toml_string(policy_diff)}",
    )
    (folder / CHANGE).write_text("\n".join(lines) + "\n")


def attached_diff(folder: Path, config: Config) -> str:
    """Return the digest of the comparison about a configuration; empty if none is attached.

    Parameters
    ----------
    folder : Path
        Folder of the configuration.
    config : Config
        The configuration as it was read.

    Raises
    ------
    ConfigError
        If ``change.toml`` cannot be read.
    """
    path = folder / CHANGE
    if not path.exists():
        return ""
    note = StructReader(CHANGE).struct(ChangeNote, read_toml(path))
    return note.policy_diff if note.digest == config.digest else ""
