"""What is kept on a person: shown to them, and erased."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.options import config_option, configuration, email_argument, example, store_of, working
from engine.cli.output import count, now, print_json, remark, say

if TYPE_CHECKING:
    from engine.privacy import Forgotten

commands = click.Group()


@commands.command(
    "export",
    short_help="Everything stored on a person, as JSON.",
    epilog=example("whoelse export dana@acme.example > dana.json"),
)
@email_argument
@config_option
def export(email: str, config: Path) -> None:
    """Everything that is stored on a person, as JSON: what they may ask for (GDPR, Article 15)."""
    from engine.privacy import export

    loaded = configuration(config)
    print_json(export(store_of(loaded), email, loaded.moments.folder))


@commands.command(
    "forget",
    short_help="Erase a person everywhere.",
    epilog=example("whoelse forget dana@acme.example", "whoelse forget dana@acme.example --yes"),
)
@email_argument
@click.option("--yes", is_flag=True, help="Do not ask: this cannot be undone.")
@config_option
def forget(email: str, yes: bool, config: Path) -> None:
    """Erase a person everywhere (GDPR, Article 17): what runs for them is stopped, all that is theirs goes, and what was written
    about others loses the words that name them. Their addresses stay suppressed, as hashes; referrals still count."""
    from engine.privacy import forget

    inst = working(configuration(config))
    if not yes and not _sure(email):
        say("Nothing was erased.")
        sys.exit(1)
    _say_forgotten(email, forget(inst, email, now()))


def _sure(email: str) -> bool:
    if not sys.stdin.isatty():
        remark(f"whoelse: erasing {email} cannot be undone; add --yes")
        return False
    return click.confirm(f"Erase {email} everywhere? This cannot be undone.", err=True)


def _say_forgotten(email: str, done: Forgotten) -> None:
    said = [
        f"{count(done.stopped, 'enrollment')} stopped",
        f"{count(done.enrollments, 'enrollment')} and {count(done.answers, 'message')} erased",
        f"{count(done.mentions, 'line')} that named them emptied",
        f"{count(done.referrals, 'referral')} without a name",
        *([f"{count(done.files, 'file')} of moments without their rows"] if done.files else ()),
    ]
    say(f"{email} is forgotten: {', '.join(said)}.")
    say("The address stays suppressed, as a hash. Erase the mail in your own mailbox, and old backups, yourself.")
