"""``riskwatch killswitch set-limit|promote|demote``: limits and models, by signed command."""

from __future__ import annotations

from typing import Annotated

import typer

from riskwatch.commands import sender as s

Target = Annotated[str, typer.Argument(help="What is predicted, as `models.targets` spells it.")]
Generation = Annotated[str, typer.Argument(help="Which generation.")]
To = Annotated[str, typer.Option("--to", help="shadow, advisory, bounded or full.")]


@s.sending
def set_limit_command(
    limit: Annotated[str, typer.Argument(help="Id of the limit in limits.toml.")],
    *,
    scope: Annotated[str, typer.Option(help="Its scope: kind and subject, e.g. issuer:circle.")],
    hard_usd: Annotated[str, typer.Option(help="New hard value, USD.")],
    warning_share: Annotated[str | None, typer.Option(help="New warning share, 0..1.")] = None,
    reason: s.Reason,
    sender: s.Sender,
) -> None:
    """Lower a limit at once, or ask for it to be raised, which somebody else approves."""
    args = {"limit": limit, "hard_usd": hard_usd}
    args |= {} if warning_share is None else {"warning_share": warning_share}
    sender.send("set_limit", scope, reason, args)


@s.sending
def promote_command(
    target: Target,
    generation: Generation,
    *,
    to: To,
    reason: s.Reason,
    sender: s.Sender,
) -> None:
    """Let a model generation go further."""
    args = {"target": target, "generation": generation, "to": to}
    sender.send("promote", "firm", reason, args)


@s.sending
def demote_command(
    target: Target,
    generation: Generation,
    *,
    to: To,
    reason: s.Reason,
    sender: s.Sender,
) -> None:
    """Hold a model generation back."""
    args = {"target": target, "generation": generation, "to": to}
    sender.send("demote", "firm", reason, args)
