"""The command line as a whole: which commands there are, and in which order `whoelse --help` lists them."""

from __future__ import annotations

from typing import Annotated

import typer

from engine.cli import entering, lists, looking, setup, steering

app = typer.Typer(
    name="whoelse",
    help="Ask clients for introductions, from your own mailbox: once, at the right moment, and never after an answer.",
    epilog="New here? `whoelse demo` shows the whole of it, `whoelse init` makes a project.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"whoelse {version('whoelse')}")
        raise typer.Exit


@app.callback()
def whoelse(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Ask clients for introductions, from your own mailbox: once, at the right moment, and never after an answer."""


for group in (setup, entering, looking, lists, steering):
    app.add_typer(group.commands)
