"""The options that many commands share, each described once, and the opening of the project that they name."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from engine.config import Config
    from engine.installation import Installation
    from engine.store import Store


#: So often a command waits for files that go on being written before it works with what was applied last.
EDITS_AWAITED_MAX = 5


def _nearest(context: click.Context, _: click.Parameter, value: Path) -> Path:
    """`whoelse --config X status` and `whoelse status --config X` mean the same; the one nearest to the command wins."""
    if context.get_parameter_source("config") is ParameterSource.COMMANDLINE:
        context.meta["config"] = value
    found: Path = context.meta.get("config", value)
    return found


config_option = click.option(
    "--config",
    metavar="FILE",
    envvar="WHOELSE_CONFIG",
    default="config.yaml",
    type=click.Path(path_type=Path),
    callback=_nearest,
    help="The project's config (else WHOELSE_CONFIG, else ./config.yaml).",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
values_option = click.option(
    "-v",
    "--value",
    "values",
    metavar="NAME=VALUE",
    multiple=True,
    help="A variable; repeat it for more, or for a list.",
)
rep_option = click.option("--rep", metavar="ADDRESS", default="", help="Whose client this is, if that is not clear.")
only_rep_option = click.option("--rep", "rep", metavar="ADDRESS", default="", help="Only this rep's.")
email_argument = click.argument("email")
sequence_argument = click.argument("sequence")


def example(*commands: str) -> str:
    """The end of a command's help: how it is typed."""
    return "\b\n" + "\n".join(("Example:" if len(commands) == 1 else "Examples:", *(f"  {c}" for c in commands)))


def configuration(config: Path) -> Config:
    """Raises UserError (exit code 2) where there is none that can be read."""
    from engine.config import load_config

    return load_config(config, os.environ)


def whose(config: Config, rep: str) -> Callable[[str], bool]:
    """Whether a mailbox is the rep's whom `--rep` names; everybody's where it names nobody. Raises UserError."""
    if not rep:
        return lambda address: True
    mailbox = config.mailbox(rep)
    if mailbox is None:
        from engine.errors import UserError

        known = ", ".join(each.address for each in config.mailboxes)
        raise UserError(f"{rep} is no mailbox of the config", remedy=f"there are {known}")
    return lambda address: address == mailbox.address


def store_of(config: Config) -> Store:
    """The store alone, for what only looks."""
    from engine.project import open_store

    return open_store(config)


def working(config: Config) -> Installation:
    """The installation with the applied library, to act with. What is applied on the way is said on standard error; for an edit
    that was saved this moment it waits until that is sure to be finished."""
    from engine.cli.output import now, remark
    from engine.project import SETTLED, open_installation, take_up, unfinished

    inst = open_installation(config, os.environ, now(), remark)
    for _ in range(EDITS_AWAITED_MAX):
        rest = unfinished(inst, now())
        if not rest:
            break
        if rest > SETTLED:
            remark(
                "whoelse: an edit ends in the middle of a line and is not applied yet; `whoelse apply` takes it as it is"
            )
            break
        time.sleep(rest.total_seconds())
        inst = take_up(inst, now(), remark)
    return inst


def edited(config: Config) -> Installation:
    """The installation as the files on disk would have it, to look and rehearse with."""
    from engine.project import open_edited

    return open_edited(config, os.environ)


def named_values(given: Sequence[str]) -> dict[str, object]:
    """`-v name=value`, in which a name that comes again makes a list. Raises click.BadParameter for anything else."""
    found: dict[str, object] = {}
    for item in given:
        name, equals, value = item.partition("=")
        name = name.strip()
        if not equals or not name:
            raise click.BadParameter(f"{item!r} is no variable; write name=value", param_hint="-v")
        before = found.get(name)
        found[name] = value if before is None else [*(before if isinstance(before, list) else [before]), value]
    return found
