"""What came back: one message to one `Reading`. Detectors are asked in order, the most certain first (structure, then headers,
then words), and the first that knows decides. A detector that is not sure says nothing; when none is, a person has replied."""

from __future__ import annotations

from collections.abc import Callable

from engine.core.classify import optout
from engine.core.classify.absence import absence
from engine.core.classify.answers import answer
from engine.core.classify.automatic import automatic
from engine.core.classify.bounce import bounce
from engine.core.classify.dsn import dsn
from engine.core.classify.evidence import Evidence
from engine.core.classify.lists import listed
from engine.core.classify.reports import abuse, calendar, disposition
from engine.core.message import parse
from engine.core.model import Message, Reader, Reading

Detector = Callable[[Evidence], Reading | None]

#: The order is the design: each of these is surer of what it says than the ones below it.
DETECTORS: tuple[Detector, ...] = (
    abuse,
    dsn,
    disposition,
    calendar,
    bounce,
    optout.button,
    automatic,
    absence,
    listed,
    answer,
)


def classify(message: Message, reader: Reader) -> Reading:
    """What a message means to this reader. Pure; the last detector always answers, with `reply` when nothing is clear."""
    evidence = Evidence(message, reader)
    readings = (detector(evidence) for detector in DETECTORS)
    return next(reading for reading in readings if reading is not None)


def read(raw: bytes, reader: Reader) -> tuple[Message, Reading]:
    """Parse and classify in one call: what a worker process runs on bytes that nobody has looked at yet."""
    message = parse(raw)
    return message, classify(message, reader)
