"""The command line as a whole: which commands there are, in the order of `whoelse --help`, and in which file each one is. A file
is read only when its command is called or help is asked for."""

from __future__ import annotations

import importlib
from pathlib import Path

import click

from engine.cli.options import config_option

#: Each command with what the list of them says of it, which is why `whoelse --help` need not read their files.
FILES = {
    "setup": {
        "demo": "See the whole of it, with nothing set up.",
        "init": "Make a project folder.",
        "check": "Find what is wrong in config, sequences and templates.",
        "test": "Run the scenarios of the sequences.",
        "schema": "Print a JSON Schema for your editor.",
    },
    "entering": {
        "enroll": "Put somebody into a sequence.",
        "change": "Change a variable of someone enrolled.",
        "simulate": "Play a sequence through on a virtual clock.",
    },
    "previewing": {
        "preview": "Show the emails exactly as they would go out.",
        "document": "Fill in a document, like the referral agreement.",
    },
    "moments": {
        "moment": "Tell that something happened to somebody.",
    },
    "contacts": {
        "contacts": "Who is known: list, show, import, export, set.",
    },
    "steering": {
        "run": "Send what is due and watch the mailboxes.",
        "pause": "Let somebody wait; --all is the emergency brake.",
        "resume": "Go on after a pause.",
        "stop": "End it for somebody.",
        "mark": "Tell what whoelse could not know.",
        "suppress": "The do-not-mail list.",
    },
    "status": {
        "status": "Who is where, and what waits for you.",
    },
    "story": {
        "show": "One person's whole story, or one sequence.",
    },
    "looking": {
        "referrals": "Who named or introduced whom, and what became of it.",
    },
    "classifying": {
        "classify": "What the engine makes of a message.",
    },
    "reports": {
        "report": "What came of it: funnel, emails, coverage, referrers, speed.",
    },
    "people": {
        "export": "Everything stored on a person, as JSON.",
        "forget": "Erase a person everywhere.",
    },
    "lists": {
        "replies": "Answers that need a look.",
        "tasks": "What is to do.",
        "drafts": "Emails that wait for your approval.",
        "doubts": "Messages that may or may not have gone out.",
    },
    "editing": {
        "plan": "What your edits mean for those in flight.",
        "apply": "Put your edits to work.",
    },
    "keeping": {
        "backup": "A consistent copy, while everything runs.",
        "restore": "Put a backup in place; what came since is looked up.",
        "migrate-store": "Carry the store from SQLite over to PostgreSQL.",
    },
    "measuring": {
        "bench": "What the engine costs on this machine.",
    },
}


class Commands(click.Group):
    """A group whose commands are in files of their own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for names in FILES.values() for name in names]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([line for lines in FILES.values() for line in lines.items()])

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
