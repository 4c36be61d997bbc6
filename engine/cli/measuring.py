"""What the engine costs on this machine, as a table or for programs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from engine.cli.options import example, json_option
from engine.cli.output import print_json, remark, say, table

if TYPE_CHECKING:
    from engine.bench.harness import Row, Size

commands = click.Group()

HEAD = ("figure", "ratio", "to reach", "engine", "reference", "", "note")


@commands.command(
    "bench",
    short_help="What the engine costs on this machine.",
    epilog=example("whoelse bench", "whoelse bench --only send --only tick/1M", "whoelse bench --full --json"),
)
@click.option("--only", metavar="NAME", multiple=True, help="Only this figure or row; repeat it for more.")
@click.option("--full", is_flag=True, help="Also the largest sizes, and other programs.")
@json_option
def bench(only: tuple[str, ...], full: bool, as_json: bool) -> None:
    """Measure the engine, each figure as a ratio to a reference that does the bare work in the same run.

    It takes ten minutes on a machine with two cores that does nothing else. Exit code 1 where a ratio is not reached.
    Other programs (`--full`, or by name: send/peer, workers/peer) are installed by pip for as long as it lasts; all else
    needs no network."""
    import tempfile
    from dataclasses import asdict
    from pathlib import Path

    from engine.bench import FIGURES, name_of, run
    from engine.bench.harness import Ground

    known = [name_of(figure) for figure in FIGURES]
    for each in only:
        if each.partition("/")[0] not in known:
            raise click.BadParameter(f"{each!r} is no figure; there are {', '.join(known)}", param_hint="--only")
    size: Size = "full" if full else "usual"
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="whoelse-bench-") as folder:
        Path(folder).chmod(0o711)  # the servers' processes run as other users
        ground = Ground(Path(folder), size)
        with ground.stack:
            for row in run(ground, only):
                rows.append(row)
                if not as_json:
                    remark(f"{row.bench}: {_ratio(row)}")
    if as_json:
        print_json([asdict(row) for row in rows])
    else:
        _say(rows)
    sys.exit(0 if all(row.met for row in rows) else 1)


def _say(rows: list[Row]) -> None:
    cells = [
        (
            row.bench,
            _ratio(row),
            f"{row.op} {row.target:g}",
            _number(row.engine),
            _number(row.reference),
            row.unit,
            row.note,
        )
        for row in rows
    ]
    for line in table([HEAD, *cells]):
        say(line)
    unmet = [row.bench for row in rows if not row.met]
    say(f"\nNot reached: {', '.join(unmet)}." if unmet else "\nEvery figure is reached.")


def _ratio(row: Row) -> str:
    if row.engine is None:
        return "-"
    return ("" if row.ratio is None else _number(row.ratio)) + (
        "" if row.met else " not reached" if row.ratio is not None else "not reached"
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
