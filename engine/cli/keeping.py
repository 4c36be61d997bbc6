"""Keeping the store safe, and moving it: copies while everything runs, back again, and on to PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli.options import config_option, configuration, example
from engine.cli.output import count, now, say

commands = click.Group()

file_argument = click.argument("file", type=click.Path(path_type=Path))


@commands.command(
    "backup",
    short_help="A consistent copy, while everything runs.",
    epilog=example("whoelse backup /backups/whoelse-2026-03-02.db"),
)
@file_argument
@config_option
def backup(file: Path, config: Path) -> None:
    """Copy the store into FILE, while everything runs. Keep secret.key apart from it: who has both can forge unsubscribe
    links, and without the key answers are no longer recognised."""
    from engine.copies import back_up

    loaded = configuration(config)
    rows = back_up(loaded.store, file, now())
    say(f"{count(rows, 'row')} are in {file}. {loaded.secret.name} is not: keep a copy of it elsewhere.")


@commands.command(
    "restore",
    short_help="Put a backup in place; what came since is looked up.",
    epilog=example("whoelse restore /backups/whoelse-2026-03-02.db"),
)
@file_argument
@config_option
def restore(file: Path, config: Path) -> None:
    """Put the backup FILE in place of the store. The old file is kept aside. Whatever may have gone out since the backup is
    looked for in the mailbox before it is sent; what cannot be proven waits in `whoelse doubts`."""
    from engine.copies import refuse_moved_file
    from engine.copies import restore as put_back
    from engine.run import only_one

    loaded = configuration(config)
    with only_one(loaded.store):
        refuse_moved_file(Path(loaded.store))
        old = put_back(file, loaded.store, now())
    say(f"{file} is the store now." + (f" The old one is {old}." if old else ""))
    say("What may have gone out since is looked for before it is sent (whoelse doubts).")


@commands.command(
    "migrate-store",
    short_help="Carry the store from SQLite over to PostgreSQL.",
    epilog=example("whoelse migrate-store postgresql://whoelse@db.example/whoelse"),
)
@click.argument("url")
@config_option
def migrate_store(url: str, config: Path) -> None:
    """Carry everything over to the empty PostgreSQL database at URL. Stop `whoelse run` first. The old file stays, and no
    command works on it any more. If it stops in the middle, run it again."""
    from engine.copies import migrate_store as carry_over
    from engine.run import only_one

    loaded = configuration(config)
    with only_one(loaded.store):
        rows = carry_over(loaded.store, url, now())
    say(f"{count(rows, 'row')} are in the new database. Now write into {config}:")
    say(f"  store: {url}")
