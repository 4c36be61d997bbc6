"""Running the engine and steering it by hand: the daemon, the brake, what the rep knows, and who is never mailed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.options import (
    config_option,
    configuration,
    email_argument,
    example,
    json_option,
    named_values,
    rep_option,
    store_of,
    values_option,
    working,
)
from engine.cli.output import now, print_json, say, stamp, table, when
from engine.core.words import spoken

if TYPE_CHECKING:
    from engine.config import Config
    from engine.core.happening import Happening
    from engine.installation import Installation

commands = click.Group()

someone_argument = click.argument("email", default="")
within_argument = click.argument("sequence", default="")


@commands.command(
    "run",
    short_help="Send what is due and watch the mailboxes.",
    epilog=example("whoelse run", "whoelse run --once", "whoelse run --log-format json"),
)
@click.option("--once", is_flag=True, help="One pass: read, send what is due, end. For cron.")
@click.option("--log-format", metavar="text|json", default="", help="If not as in the config.")
@config_option
def run(once: bool, log_format: str, config: Path) -> None:
    """Send what is due and watch the mailboxes, until it is stopped (Ctrl-C, SIGTERM)."""
    if log_format not in ("", "text", "json"):
        raise click.BadParameter(f"{log_format!r} is neither text nor json", param_hint="--log-format")
    loaded = configuration(config)
    from engine.run import run

    sys.exit(run(loaded, once=once, log_format=log_format or loaded.log_format))


# --- pause, resume, stop ---------------------------------------------------------------------------------------------


@commands.command(
    "pause",
    short_help="Let somebody wait; --all is the emergency brake.",
    epilog=example("whoelse pause dana@acme.example", "whoelse pause --all"),
)
@someone_argument
@within_argument
@click.option(
    "--all", "everything", is_flag=True, help="The emergency brake: nobody, nothing, until `whoelse resume --all`."
)
@config_option
def pause(email: str, sequence: str, everything: bool, config: Path) -> None:
    """Let somebody's clock stand still until you resume. With --all, stop everything before the next email."""
    from engine.core.happening import Paused

    if everything:
        _pull_brake(config, email)
        return
    _steer(config, email, sequence, Paused("paused_by_rep"))


@commands.command(
    "resume",
    short_help="Go on after a pause.",
    epilog=example("whoelse resume dana@acme.example", "whoelse resume --all"),
)
@someone_argument
@within_argument
@click.option("--all", "everything", is_flag=True, help="Let go of the emergency brake.")
@config_option
def resume(email: str, sequence: str, everything: bool, config: Path) -> None:
    """Go on where it was paused; the dates move by the length of the pause."""
    from engine.core.happening import Released

    if everything:
        _release_brake(config, email)
        return
    _steer(config, email, sequence, Released("resumed by the rep"))


@commands.command(
    "stop",
    short_help="End it for somebody.",
    epilog=example("whoelse stop dana@acme.example", "whoelse stop dana@acme.example ask"),
)
@email_argument
@within_argument
@config_option
def stop(email: str, sequence: str, config: Path) -> None:
    """End it for somebody: nothing more is sent. They can be enrolled again."""
    from engine.core.happening import Stopped

    _steer(config, email, sequence, Stopped("stopped_by_rep"))


def _steer(config: Path, email: str, sequence: str, happening: Happening) -> None:
    from engine.cli.status import where
    from engine.enrollments import steer

    if not email:
        raise click.BadParameter("name somebody, or --all for everything", param_hint="EMAIL")
    inst = working(configuration(config))
    for decision in steer(inst, email, sequence, happening, now()):
        after = decision.enrollment
        next_up = (
            where(inst.config, after, inst.store.contact(after.contact)) if after.state in ("active", "waiting") else ""
        )
        say(f"{email}, {after.sequence}: {'; '.join(filter(None, (spoken(decision.why), next_up)))}")


def _pull_brake(config: Path, email: str) -> None:
    """Opens nothing but the store: the brake must work when the sequences do not."""
    from engine.outbox import BRAKE

    _nobody(email)
    store = store_of(configuration(config))
    with store.transaction():
        store.set_setting(BRAKE, now().isoformat())
        store.tell(now(), "brake", "everything is paused by the rep")
    say("Everything is paused: nothing leaves any more. Answers are still read. `whoelse resume --all` goes on.")


def _release_brake(config: Path, email: str) -> None:
    from engine.outbox import BRAKE

    _nobody(email)
    store = store_of(configuration(config))
    if store.setting(BRAKE) is None:
        say("Nothing was paused as a whole.")
        return
    with store.transaction():
        store.drop_setting(BRAKE)
        store.tell(now(), "brake", "everything goes on")
    say("Everything goes on.")


def _nobody(email: str) -> None:
    if email:
        raise click.BadParameter("either somebody, or --all", param_hint="EMAIL")


# --- mark ------------------------------------------------------------------------------------------------------------


@commands.command(
    "mark",
    short_help="Tell what whoelse could not know.",
    epilog=example(
        "whoelse mark dana@acme.example confirmed",
        "whoelse mark lee@acme.example confirmed --name 'Lee Moran' --company Acme",
        "whoelse mark dana@acme.example introduced -v prospect='Barry Jones <barry@northwind.example>'",
        "whoelse mark barry@northwind.example met",
    ),
)
@email_argument
@click.argument("event")
@values_option
@click.option("--name", default="", help="Their name, if they are new.")
@click.option("--company", default="", help="Their company, if they are new.")
@rep_option
@config_option
def mark(email: str, event: str, values: tuple[str, ...], name: str, company: str, rep: str, config: Path) -> None:
    """Tell whoelse what it could not know: what was said on the phone, or what became of a prospect."""
    from engine.inbox import mark

    inst = working(configuration(config))
    if name:
        _acquaint(inst, email, rep, name, company)
    for line in mark(inst, email, event, named_values(values), now()):
        say(line)


def _acquaint(inst: Installation, email: str, rep: str, name: str, company: str) -> None:
    from engine.core.needs import Refusal
    from engine.enrollments import Wish, acquaint
    from engine.errors import UserError

    told = {"name": name, **({"company": company} if company else {})}
    known = acquaint(inst, Wish(email, "", {}, rep, contact=told))
    if isinstance(known, Refusal):
        raise UserError(known.reason, remedy=known.remedy)


# --- suppress --------------------------------------------------------------------------------------------------------


@commands.command(
    "suppress",
    short_help="The do-not-mail list.",
    epilog=example("whoelse suppress", "whoelse suppress dana@acme.example --reason 'asked on the phone'"),
)
@someone_argument
@click.option("--reason", default="by the rep", help="Why; it is kept.")
@config_option
@json_option
def suppress(email: str, reason: str, config: Path, as_json: bool) -> None:
    """The do-not-mail list; with EMAIL, put somebody on it. This is final, and stops everything that runs for them."""
    loaded = configuration(config)
    if email:
        _suppress(loaded, email, reason)
        return
    found = store_of(loaded).suppressions()
    if as_json:
        zone = loaded.company.zone
        print_json([{"address": s.address, "reason": s.reason, "at": stamp(s.at, zone)} for s in found])
        return
    rows = [(s.address or "(erased)", when(s.at, loaded.company.zone), spoken(s.reason)) for s in found]
    for line in table(rows) or ["Nobody is on the list."]:
        say(line)


def _suppress(config: Config, email: str, reason: str) -> None:
    from engine import decisions
    from engine.core.needs import person

    try:
        address = person({"email": email})["email"]
    except ValueError:
        said = f"{email!r} is no address; write it like dana@acme.example"
        raise click.BadParameter(said, param_hint="EMAIL") from None
    inst = working(config)
    contact = inst.store.contact_at(address)
    with inst.store.transaction():
        if contact:
            decisions.suppress(inst, contact.id, reason, now())
        else:
            inst.store.suppress(address, reason, now())
    say(f"{address} is never mailed again.")
