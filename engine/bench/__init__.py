"""What the engine costs, measured: each figure is a ratio of the engine to a reference that does the bare work, in the same run, on
the same machine. A figure is one file; what it measured is asserted before it is believed."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence

from engine.bench.harness import Ground, Row

#: In this order; each is a module of this package with `measure(ground)`.
FIGURES = (
    "start", "send", "rtt", "build", "classify", "match", "tick", "import_csv", "simulate", "poll", "react", "watch", "memory",
    "workers",
)  # fmt: skip


def name_of(figure: str) -> str:
    return figure.partition("_")[0]


def run(ground: Ground, only: Sequence[str] = ()) -> Iterator[Row]:
    """Measures everything, or what `only` names: a figure (`send`) or one of its rows (`send/8`)."""
    wanted = {each.partition("/")[0] for each in only}
    for figure in FIGURES:
        if not wanted or name_of(figure) in wanted:
            ground.only = frozenset(each for each in only if "/" in each)
            yield from importlib.import_module(f"engine.bench.{figure}").measure(ground)
