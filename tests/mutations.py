"""Messages broken by chance: what a mutation of a strange message may cost, and that nothing in it is ever an error. A seed is one
mutation, so that whatever does not hold can be run again alone."""

from __future__ import annotations

import random
import resource
import time

from labelled import CORPUS, OWN_READER, odd, own

from engine.core.classify import read

SECONDS_MAX = 2.0
MEGABYTES_MAX = 200


def originals() -> list[bytes]:
    """The strange messages of the corpus where it is present, the project's own otherwise."""
    return odd() if CORPUS.is_dir() else [one.raw for one in own()]


def fault(seed: int, among: list[bytes]) -> str:
    """What went wrong on reading one mutation: an error, too much processor time, too much memory; or nothing."""
    luck = random.Random(seed)
    raw = mutated(luck.choice(among), luck, among)
    before, began = _megabytes(), time.process_time()
    try:
        read(raw, OWN_READER)
    except Exception as error:
        return f"seed {seed}: {type(error).__name__}: {error}"
    spent, grown = time.process_time() - began, _megabytes() - before
    if spent >= SECONDS_MAX:
        return f"seed {seed}: {spent:.1f} s"
    return f"seed {seed}: {grown} MB" if grown >= MEGABYTES_MAX else ""


def _megabytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def mutated(raw: bytes, luck: random.Random, others: list[bytes]) -> bytes:
    changed = bytearray(raw)
    for _ in range(luck.randint(1, 8)):
        at = luck.randrange(len(changed) + 1)
        other = luck.choice(others)
        start = luck.randrange(len(other) + 1)
        match luck.randrange(6):
            case 0:
                changed[at:at] = luck.randbytes(luck.randint(1, 40))
            case 1:
                del changed[at : at + luck.randint(1, 400)]
            case 2:
                changed[at:at] = changed[max(0, at - 300) : at] * luck.randint(1, 20)
            case 3:
                changed[at:at] = other[start : start + luck.randint(1, 2000)]
            case 4:
                changed[at:at] = luck.choice(
                    [b"\r\n\r\n", b">" * 300, b"<div>" * 300, b"=?utf-8?b?" * 50, b"1/1/", b"\x00" * 20, b"((" * 99]
                )
            case _:
                swap = luck.choice(
                    [
                        (b"base64", b"quoted-printable"),
                        (b"utf-8", b"idna"),
                        (b"boundary", b"bound"),
                        (b"text/plain", b"text/html"),
                    ]
                )
                changed = bytearray(bytes(changed).replace(*swap))
    return bytes(changed)
