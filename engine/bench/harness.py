"""How a figure is taken: engine and reference in turn, so that whatever else the machine does falls on both; five pairs, of whose
ratios the median counts. Where something is not installed, the row says so and is not met."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Literal, TypeVar

PAIRS = 5
#: Less than a clock tells, for a reference that took no time that it knows of.
TICK = 1e-9
#: So often a piece of work is done again until a coarse clock has moved.
AGAIN_MAX = 1_000
#: How large things are: so small that only the outcome matters, as in the table, or with the largest.
Size = Literal["tiny", "usual", "full"]
T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """One figure as `--json` prints it. `engine` and `reference` are in `unit`; where the target is about `engine` itself,
    `ratio` and `reference` are None; where nothing could be measured, all three are."""

    bench: str
    op: Literal[">=", "<="]
    target: float
    ratio: float | None
    met: bool
    engine: float | None
    reference: float | None
    unit: str
    note: str = ""


@dataclass
class Ground:
    """Where it is measured: a folder of its own and what was started in it, ended when the `stack` closes."""

    folder: Path
    size: Size = "usual"
    only: frozenset[str] = frozenset()
    stack: ExitStack = field(default_factory=ExitStack)
    _kept: dict[str, object] = field(default_factory=dict)
    _folders: int = 0

    def pick(self, tiny: T, usual: T, full: T | None = None) -> T:
        """The value for the size in which it is measured."""
        return tiny if self.size == "tiny" else full if self.size == "full" and full is not None else usual

    def wants(self, bench: str) -> bool:
        """Whether this row is among those that were named."""
        family = bench.partition("/")[0]
        named = {each for each in self.only if each.partition("/")[0] == family}
        return not named or bench in named

    def wants_peer(self, bench: str) -> bool:
        """Whether a row that installs another program is wanted: with the largest sizes, or by its name."""
        return bench in self.only or (self.size == "full" and self.wants(bench))

    def fresh(self, name: str) -> Path:
        """A new folder."""
        self._folders += 1
        folder = self.folder / f"{self._folders:03}-{name}"
        folder.mkdir()
        folder.chmod(0o711)
        return folder

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What several figures share is made when the first one asks for it."""
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]  # type: ignore[return-value]

    @property
    def pairs(self) -> int:
        return self.pick(1, PAIRS)


def compare(
    bench: str,
    op: Literal[">=", "<="],
    target: float,
    engine: Callable[[], float],
    reference: Callable[[], float],
    unit: str,
    *,
    pairs: int,
    note: str = "",
) -> Row:
    """One row: `engine` and `reference` each measure once and return a figure in `unit`."""
    return _row(bench, op, target, [(engine(), reference()) for _ in range(pairs)], unit, note)


def compare_in_slices(
    bench: str,
    target: float,
    engine: Callable[[], object],
    reference: Callable[[], object],
    *,
    slices: int,
    times: int,
    pairs: int,
    note: str = "",
) -> Row:
    """One row of processor time in ms, of work that is done once by each call. In every pair the two take turns in so many slices
    of so many calls: too short for a machine of changing speed to favour one of them."""

    def pair() -> tuple[float, float]:
        taken = [(_processor(engine, times), _processor(reference, times)) for _ in range(slices)]
        return sum(ours for ours, _ in taken) / slices, sum(theirs for _, theirs in taken) / slices

    return _row(bench, "<=", target, [pair() for _ in range(pairs)], "ms", f"processor time; {note}")


def _processor(work: Callable[[], object], times: int) -> float:
    return 1000 * seconds(work, times, time.process_time)


def _row(
    bench: str, op: Literal[">=", "<="], target: float, found: list[tuple[float, float]], unit: str, note: str
) -> Row:
    ratio = median(ours / max(theirs, TICK) for ours, theirs in found)
    ours, theirs = median(each for each, _ in found), median(each for _, each in found)
    return Row(bench, op, target, digits(ratio), met(op, ratio, target), digits(ours), digits(theirs), unit, note)


def absolute(bench: str, op: Literal[">=", "<="], target: float, value: float, unit: str, note: str = "") -> Row:
    """One row whose target is about the figure itself."""
    return Row(bench, op, target, None, met(op, value, target), digits(value), None, unit, note)


def not_measured(bench: str, op: Literal[">=", "<="], target: float, unit: str, why: str) -> Row:
    return Row(bench, op, target, None, False, None, None, unit, f"not measured: {why}")


def met(op: str, value: float, target: float) -> bool:
    compared = {">=": operator.ge, "<=": operator.le}[op]
    return bool(compared(digits(value), target))


def digits(value: float) -> float:
    """Three digits that matter: the rest is noise."""
    return float(f"{value:.3g}")


def seconds(work: Callable[[], object], times: int = 1, clock: Callable[[], float] = time.perf_counter) -> float:
    """How long a piece of work takes, once. So little of it that the clock stands still meanwhile is done again."""
    began, done, spent = clock(), 0, 0.0
    while done < times * AGAIN_MAX and spent <= 0:
        for _ in range(times):
            work()
        done += times
        spent = clock() - began
    return spent / done
