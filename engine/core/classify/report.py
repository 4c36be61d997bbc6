"""How right the classifier is on messages that somebody labelled: the confusion matrix, and precision and recall of each class.
A label may be an event or one of the six coarse classes of public test mail, which several events satisfy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from engine.core.model import Event, Reading

#: The events that each coarse label stands for; the first is the name under which a right answer is counted.
COARSE: Mapping[str, frozenset[Event]] = {
    "reply": frozenset({Event.REPLY, Event.CONFIRMED, Event.DECLINED, Event.NAMED, Event.INTRODUCED}),
    "auto_reply": frozenset({Event.AUTO_REPLY, Event.OUT_OF_OFFICE}),
    "bounce_hard": frozenset({Event.BOUNCED}),
    "bounce_soft": frozenset({Event.SOFT_BOUNCED, Event.DELAYED}),
    "unsubscribe": frozenset({Event.UNSUBSCRIBED}),
    "other": frozenset({Event.IGNORED, Event.COMPLAINED}),
}
#: Labels that an event satisfies beside its own: mail that nobody meant as an answer may be called automatic.
LENIENT = {"other": frozenset({Event.AUTO_REPLY})}


@dataclass(frozen=True)
class Row:
    """One labelled message and what was made of it. `also` holds other labels that are just as right."""

    name: str
    label: str
    reading: Reading
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Score:
    """One class: how many there are, how many were given, how many of them rightly."""

    label: str
    there: int
    given: int
    right: int

    @property
    def precision(self) -> float:
        return self.right / self.given if self.given else 1.0

    @property
    def recall(self) -> float:
        return self.right / self.there if self.there else 1.0


@dataclass(frozen=True)
class Confusion:
    """Counts by (label, given), the scores by label, and the names of the messages that were read wrongly."""

    counts: Mapping[tuple[str, str], int]
    scores: tuple[Score, ...]
    wrong: tuple[tuple[str, str, str, str], ...]

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(sorted({label for pair in self.counts for label in pair}))

    def score(self, *labels: str) -> Score:
        """The score of several classes taken as one: "any bounce" is right whichever of them was given."""
        pairs = self.counts.items()
        there = sum(count for (label, _), count in pairs if label in labels)
        given = sum(count for (_, got), count in pairs if got in labels)
        right = sum(count for (label, got), count in pairs if label in labels and got in labels)
        return Score(" + ".join(labels), there, given, right)


def confusion(rows: Iterable[Row]) -> Confusion:
    """The confusion matrix of labelled messages. Rows are labels, columns what was given, in the same terms."""
    kept = list(rows)
    coarse = any(row.label in COARSE and row.label not in set(Event) for row in kept)
    counts: Counter[tuple[str, str]] = Counter()
    wrong: list[tuple[str, str, str, str]] = []
    for row in kept:
        label, given = judged(row, coarse)
        counts[label, given] += 1
        if label != given:
            wrong.append((row.name, label, given, row.reading.rule))
    partial = Confusion(counts, (), ())
    return Confusion(counts, tuple(partial.score(label) for label in partial.labels), tuple(wrong))


def judged(row: Row, coarse: bool) -> tuple[str, str]:
    """The label that counts and what was given: equal where the reading satisfies the label or one that is just as right."""
    event = row.reading.event
    if not coarse:
        return (event.value, event.value) if event.value in row.also else (row.label, event.value)
    given = next(name for name, events in COARSE.items() if event in events)
    for label in (row.label, *row.also):
        if given == label or event in LENIENT.get(label, ()):
            return label, label
    return row.label, given


def table(found: Confusion) -> list[list[str]]:
    """The matrix as rows of text: a heading, then a line a label with its precision and recall."""
    labels = found.labels
    lines = [["", *labels, "there", "precision", "recall"]]
    for score in found.scores:
        cells = [str(found.counts.get((score.label, given), 0) or "·") for given in labels]
        lines.append([score.label, *cells, str(score.there), f"{score.precision:.3f}", f"{score.recall:.3f}"])
    return lines
