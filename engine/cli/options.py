"""The options that many commands share, each described once, and the opening of the project that they name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from engine.config import Config
    from engine.installation import Installation
    from engine.store import Store

ConfigFile = Annotated[
    Path, typer.Option("--config", envvar="WHOELSE_CONFIG", metavar="FILE", help="The project's config.yaml.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Values = Annotated[
    list[str],
    typer.Option("-v", "--value", metavar="NAME=VALUE", help="A variable; repeat it for more, or for a list."),
]
Rep = Annotated[str, typer.Option("--rep", metavar="ADDRESS", help="Whose client this is, if that is not clear.")]
Email = Annotated[str, typer.Argument(metavar="EMAIL", help="The person's address.", show_default=False)]
HERE = Path("config.yaml")


def example(*commands: str) -> str:
    """The end of a command's help: how it is typed."""
    return "\b\n" + "\n".join(("Example:" if len(commands) == 1 else "Examples:", *(f"  {c}" for c in commands)))


def configuration(config: Path) -> Config:
    """Raises UserError (exit code 2) where there is none that can be read."""
    from engine.config import load_config

    return load_config(config, os.environ)


def store_of(config: Config) -> Store:
    """The store alone, for what only looks."""
    from engine.project import open_store

    return open_store(config)


def working(config: Config) -> Installation:
    """The installation with the applied library, to act with. What is applied on the way is said on standard error."""
    from engine.cli.output import now, remark
    from engine.project import open_installation

    return open_installation(config, os.environ, now(), remark)


def edited(config: Config) -> Installation:
    """The installation as the files on disk would have it, to look and rehearse with."""
    from engine.project import open_edited

    return open_edited(config, os.environ)


def named_values(given: list[str]) -> dict[str, object]:
    """`-v name=value`, in which a name that comes again makes a list. Raises typer.BadParameter for anything else."""
    found: dict[str, object] = {}
    for item in given:
        name, equals, value = item.partition("=")
        name = name.strip()
        if not equals or not name:
            raise typer.BadParameter(f"{item!r} is no variable; write name=value", param_hint="-v")
        before = found.get(name)
        found[name] = value if before is None else [*(before if isinstance(before, list) else [before]), value]
    return found
