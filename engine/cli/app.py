"""The command line as a whole: which commands there are, in the order of `whoelse --help`, and in which file each one is. A file
is read only when its command is called or help is asked for."""

from __future__ import annotations

import importlib
from pathlib import Path

import click

from engine.cli.options import config_option

FILES = {
    "setup": ("demo", "init", "check", "test", "schema"),
    "entering": ("enroll", "change", "simulate"),
    "previewing": ("preview", "document"),
    "moments": ("moment",),
    "contacts": ("contacts",),
    "steering": ("run", "pause", "resume", "stop", "mark", "suppress"),
    "status": ("status",),
    "story": ("show",),
    "looking": ("referrals",),
    "classifying": ("classify",),
    "reports": ("report",),
    "people": ("export", "forget"),
    "lists": ("replies", "tasks", "drafts", "doubts"),
    "editing": ("plan", "apply"),
    "keeping": ("backup", "restore", "migrate-store"),
    "measuring": ("bench",),
}


class Commands(click.Group):
    """A group whose commands are in files of their own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for names in FILES.values() for name in names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for file, names in FILES.items():
            if cmd_name in names:
                found: click.Group = importlib.import_module(f"engine.cli.{file}").commands
                return found.commands[cmd_name]
        return None


@click.group(
    "whoelse",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="New here? `whoelse demo` shows the whole of it, `whoelse init` makes a project.",
)
@click.version_option(package_name="whoelse", message="whoelse %(version)s")
@config_option
def app(config: Path) -> None:
    """Ask clients for introductions, from your own mailbox: once, at the right moment, and never after an answer."""
