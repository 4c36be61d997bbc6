"""The referral log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.options import config_option, configuration, example, json_option, only_rep_option, store_of, whose
from engine.cli.output import now, print_json, say, stamp, table, when, zone_of
from engine.core.words import length_text

if TYPE_CHECKING:
    from engine.config import Config
    from engine.core.model import Contact, Referral

commands = click.Group()


# --- referrals -------------------------------------------------------------------------------------------------------


@commands.command("referrals", short_help="Who named or introduced whom.", epilog=example("whoelse referrals"))
@only_rep_option
@config_option
@json_option
def referrals(rep: str, config: Path, as_json: bool) -> None:
    """The referral log: who named or introduced whom, and what became of it."""
    loaded = configuration(config)
    theirs = whose(loaded, rep)
    store = store_of(loaded)
    found = [referral for referral in store.referrals() if theirs(referral.rep)]
    clients = {r.client: store.contact(r.client) for r in found}
    if as_json:
        print_json([referral_json(loaded, r, clients[r.client]) for r in found])
        return
    rows = [referral_row(loaded, r, clients[r.client]) for r in found]
    for line in table(rows) or ["Nobody was named yet."]:
        say(line)


DATES = ("named", "introduced", "contacted", "met", "won", "lost")


def referral_json(config: Config, referral: Referral, client: Contact | None) -> dict[str, Any]:
    from dataclasses import asdict

    zone = zone_of(config, client, referral.rep)
    return {
        "prospect": asdict(referral.prospect),
        "client": client.email if client and "@" in client.email else "",
        "rep": referral.rep,
        "state": referral.state,
        "source": referral.source,
        **{f"{name}_at": stamp(getattr(referral, f"{name}_at"), zone) for name in (*DATES, "answered")},
    }


def referral_row(config: Config, referral: Referral, client: Contact | None) -> tuple[str, str, str]:
    zone = zone_of(config, client, referral.rep)
    who = referral.prospect
    dates = [(name, getattr(referral, f"{name}_at")) for name in DATES]
    said = ", ".join(f"{name} {when(at, zone)}" for name, at in dates if at)
    clock = speed(referral)
    return (
        who.name or who.email or "(erased)",
        f"by {client.email if client and '@' in client.email else '(erased)'}",
        f"{said}; {clock}" if clock else said,
    )


def speed(referral: Referral) -> str:
    """How long an introduction has waited for its answer, or how soon that came."""
    if referral.introduced_at is None:
        return ""
    if referral.waits:
        return f"introduced {length_text(now() - referral.introduced_at)} ago, not answered"
    at = referral.answered_at
    return f"answered after {length_text(at - referral.introduced_at)}" if at else ""
