"""What an edit of sequences and templates means for those in flight, and doing it."""

from __future__ import annotations

import os
from pathlib import Path

import click

from engine.cli.options import config_option, configuration, example, json_option, store_of
from engine.cli.output import now, print_json, say

commands = click.Group()


@commands.command("plan", short_help="What your edits mean for those in flight.", epilog=example("whoelse plan"))
@config_option
@json_option
def plan(config: Path, as_json: bool) -> None:
    """Print what the edits on disk mean for those in flight. Nothing happens."""
    _plan(config, as_json, doing=False)


@commands.command("apply", short_help="Put your edits to work.", epilog=example("whoelse apply"))
@config_option
@json_option
def apply(config: Path, as_json: bool) -> None:
    """Put the edits on disk to work: what runs from now on is these files."""
    _plan(config, as_json, doing=True)


def _plan(path: Path, as_json: bool, doing: bool) -> None:
    """Opened by hand: the ordinary opening would have applied the edits already."""
    from dataclasses import asdict

    from engine import edits
    from engine.installation import Installation
    from engine.library import unpack
    from engine.project import edited_library
    from engine.secrets import installation_key

    config = configuration(path)
    library = edited_library(config)
    store = store_of(config)
    applied = store.applied_library()
    inst = Installation(config, store, unpack(applied[1] if applied else "{}"), installation_key(config, os.environ))
    found = edits.plan(inst, library, now())
    if doing and found:
        edits.apply(inst, library, now())
    if as_json:
        print_json({**asdict(found), "applied": doing})
        return
    for line in found.lines():
        say(line)
    if not found:
        say("Nothing has changed since the last apply.")
    elif doing:
        say("\nApplied.")
    else:
        say("\nNothing has happened yet. `whoelse apply` makes it so.")
