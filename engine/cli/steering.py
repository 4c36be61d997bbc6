"""Running the engine and steering it by hand: the daemon, the brake, what the rep knows, and who is never mailed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.options import (
    HERE,
    ConfigFile,
    Email,
    Json,
    Values,
    configuration,
    example,
    named_values,
    store_of,
    working,
)
from engine.cli.output import now, print_json, say, spoken, stamp, table, when

if TYPE_CHECKING:
    from pathlib import Path

    from engine.config import Config
    from engine.core.happening import Happening

commands = typer.Typer()

Whom = Annotated[str, typer.Argument(metavar="EMAIL", help="The person's address.", show_default=False)]
In = Annotated[
    str, typer.Argument(metavar="[SEQUENCE]", help="Only in this one; without it in all.", show_default=False)
]
EVERYTHING = typer.Option("--all", help="The emergency brake: nobody, nothing, until `whoelse resume --all`.")


@commands.command(epilog=example("whoelse run", "whoelse run --once", "whoelse run --log-format json"))
def run(
    once: Annotated[bool, typer.Option("--once", help="One pass: read, send what is due, end. For cron.")] = False,
    log_format: Annotated[str, typer.Option("--log-format", metavar="text|json", help="If not as in the config.")] = "",
    config: ConfigFile = HERE,
) -> None:
    """Send what is due and watch the mailboxes, until it is stopped (Ctrl-C, SIGTERM)."""
    if log_format not in ("", "text", "json"):
        raise typer.BadParameter(f"{log_format!r} is neither text nor json", param_hint="--log-format")
    loaded = configuration(config)
    from engine.daemon import run

    raise typer.Exit(run(loaded, once=once, log_format=log_format or loaded.log_format))


# --- pause, resume, stop ---------------------------------------------------------------------------------------------


@commands.command(epilog=example("whoelse pause dana@acme.example", "whoelse pause --all"))
def pause(
    email: Whom = "",
    sequence: In = "",
    everything: Annotated[bool, EVERYTHING] = False,
    config: ConfigFile = HERE,
) -> None:
    """Let somebody's clock stand still until you resume. With --all, stop everything before the next email."""
    from engine.core.happening import Paused

    if everything:
        _pull_brake(config, email)
        return
    _steer(config, email, sequence, Paused("paused_by_rep"))


@commands.command(epilog=example("whoelse resume dana@acme.example", "whoelse resume --all"))
def resume(
    email: Whom = "",
    sequence: In = "",
    everything: Annotated[bool, typer.Option("--all", help="Let go of the emergency brake.")] = False,
    config: ConfigFile = HERE,
) -> None:
    """Go on where it was paused; the dates move by the length of the pause."""
    from engine.core.happening import Released

    if everything:
        _release_brake(config, email)
        return
    _steer(config, email, sequence, Released("resumed by the rep"))


@commands.command(epilog=example("whoelse stop dana@acme.example", "whoelse stop dana@acme.example ask"))
def stop(email: Email, sequence: In = "", config: ConfigFile = HERE) -> None:
    """End it for somebody: nothing more is sent. They can be enrolled again."""
    from engine.core.happening import Stopped

    _steer(config, email, sequence, Stopped("stopped_by_rep"))


def _steer(config: Path, email: str, sequence: str, happening: Happening) -> None:
    from engine.enrollments import steer

    if not email:
        raise typer.BadParameter("name somebody, or --all for everything", param_hint="EMAIL")
    for decision in steer(working(configuration(config)), email, sequence, happening, now()):
        say(f"{email}, {decision.enrollment.sequence}: {spoken(decision.why) or 'nothing changes'}")


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
        raise typer.BadParameter("either somebody, or --all", param_hint="EMAIL")


# --- mark ------------------------------------------------------------------------------------------------------------


@commands.command(
    epilog=example(
        "whoelse mark dana@acme.example confirmed",
        "whoelse mark dana@acme.example introduced -v prospect='Barry Jones <barry@northwind.example>'",
        "whoelse mark barry@northwind.example met",
    )
)
def mark(
    email: Email,
    event: Annotated[
        str,
        typer.Argument(
            metavar="EVENT", help="introduced, named, confirmed, declined, met, won or lost.", show_default=False
        ),
    ],
    values: Values = [],  # noqa: B006
    config: ConfigFile = HERE,
) -> None:
    """Tell the engine what it could not know: what was said on the phone, or what became of a prospect."""
    from engine.inbox import mark

    for line in mark(working(configuration(config)), email, event, named_values(values), now()):
        say(spoken(line))


# --- suppress --------------------------------------------------------------------------------------------------------


@commands.command(
    epilog=example("whoelse suppress", "whoelse suppress dana@acme.example --reason 'asked on the phone'")
)
def suppress(
    email: Annotated[
        str, typer.Argument(metavar="[EMAIL]", help="Who is never mailed again.", show_default=False)
    ] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept.")] = "by the rep",
    config: ConfigFile = HERE,
    as_json: Json = False,
) -> None:
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
    from engine import enrollments
    from engine.core.needs import person

    try:
        address = person({"email": email})["email"]
    except ValueError as error:
        raise typer.BadParameter(f"{email!r} {error}", param_hint="EMAIL") from None
    inst = working(config)
    contact = inst.store.contact_at(address)
    with inst.store.transaction():
        if contact:
            enrollments.suppress(inst, contact.id, reason, now())
        else:
            inst.store.suppress(address, reason, now())
    say(f"{address} is never mailed again.")
