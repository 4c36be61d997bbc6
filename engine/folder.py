"""A folder that other systems write tables of moments into. A file is taken once nobody has written to it for a while: first it is
moved aside under a name of its own, then every row is told under a key of that name and its place, so that a stop anywhere
repeats nothing; at the end it rests in `done/`, with a file of what was refused beside it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from engine.core.needs import Refusal
from engine.errors import UserError
from engine.installation import Installation
from engine.intake import Fed, feed, refuse_columns
from engine.sheets import Row, Sheet, read_sheet, write_refused, write_sheet

#: So long nobody may have written to a file before it is taken; one that ends in the middle of a line, or of its JSON, so long.
QUIET, QUIET_UNFINISHED = timedelta(seconds=5), timedelta(minutes=1)
#: A file that was taken stays in hand so long after its last byte: whoever still had it open may go on writing.
IN_HAND = timedelta(minutes=1)
FILE_BYTES_MAX = 10_000_000
TAKING, DONE = "taking", "done"
#: What programs call a file that they are still writing.
UNFINISHED = (".tmp", ".temp", ".part", ".partial", ".crdownload", ".filepart", ".swp", ".lock", "~")


def take_in(inst: Installation, now: datetime) -> None:
    """Takes what has been in the watched folder long enough at `now` (UTC). Raises OSError where it cannot be worked in."""
    folder = Path(inst.config.moments.folder)
    for name in (TAKING, DONE):
        (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in waiting(folder, now):
        _taken(file, folder / TAKING, now)
    for file in _files(folder / TAKING):
        _fed(inst, file, folder / DONE, now)


def _files(folder: Path) -> list[Path]:
    """The files of a folder, the oldest first: no links, pipes or folders, nothing hidden or unfinished."""
    found = []
    for entry in os.scandir(folder):
        seen = not entry.name.startswith((".", "#")) and not entry.name.lower().endswith(UNFINISHED)
        if seen and entry.is_file(follow_symlinks=False):
            found.append((entry.stat(follow_symlinks=False).st_mtime_ns, Path(entry.path)))
    return [file for _, file in sorted(found)]


def waiting(folder: Path, now: datetime) -> Iterator[Path]:
    """The files that are sure to be finished, by the last change that the system has seen (ctime: no program sets it back; a
    file that was renamed into the folder counts from then)."""
    for file in _files(folder):
        with contextlib.suppress(FileNotFoundError):
            if _finished(file, now - datetime.fromtimestamp(file.stat().st_ctime, UTC)):
                yield file


def _finished(file: Path, quiet: timedelta) -> bool:
    """Whether nobody has touched a file for long enough; half a line is not taken for a whole one."""
    return quiet >= QUIET and (quiet >= QUIET_UNFINISHED or _is_whole(file))


def _is_whole(file: Path) -> bool:
    """Whether a file ends as tables end. What is no text is as whole as it will be."""
    try:
        raw = file.read_bytes() if file.stat().st_size <= FILE_BYTES_MAX else b"\n"
    except OSError:
        return False
    if raw.lstrip()[:1] == b"[":
        try:
            json.loads(raw)
        except ValueError:
            return False
        return True
    return raw.endswith((b"\n", b"\r", b"\n\x00"))


def _taken(file: Path, taking: Path, now: datetime) -> None:
    """Moves a file aside under a name that no other has had; where another daemon was quicker there is nothing to move."""
    for number in range(1, 1_000):
        suffix = f"-{number}" if number > 1 else ""
        aside = taking / f"{now:%Y%m%d-%H%M%S}{suffix}-{file.name}"
        if not aside.exists() and not (taking.parent / DONE / aside.name).exists():
            break
    try:
        file.rename(aside)
    except FileNotFoundError:
        return


def _fed(inst: Installation, file: Path, done: Path, now: datetime) -> None:
    """Tells every row that was not told yet; once nobody has written to the file for a while, moves it to `done`."""
    try:
        before = file.stat()
        if not _finished(file, now - datetime.fromtimestamp(before.st_mtime, UTC)):
            return
        sheet = _read(file, before)
        told = list(feed(inst, sheet, now, key_of=lambda row: _key(file.name, row)))
        fault = ""
    except UserError as error:
        sheet, told, fault = Sheet((), (), "", ","), [], str(error)
    except FileNotFoundError:
        return
    if not _settled(file, before, now):
        return
    refused = [(fed.row, str(fed.said)) for fed in told if isinstance(fed.said, Refusal)]
    beside = _beside(done / file.name, sheet, refused, fault)
    try:
        file.rename(done / file.name)
    except FileNotFoundError:  # another daemon did
        return
    inst.store.tell(now, "folder", _said(file.name, told, refused, fault, beside))


def _read(file: Path, before: os.stat_result) -> Sheet:
    if before.st_size > FILE_BYTES_MAX or not stat.S_ISREG(before.st_mode):
        raise UserError(f"is larger than {FILE_BYTES_MAX // 1_000_000} MB", file.name, "cut it into several")
    sheet = read_sheet(file)
    refuse_columns(file, sheet)
    return sheet


def _key(name: str, row: Row) -> str:
    """A row of a file that was taken: by its place and by what it says, so that neither a second reading nor a longer file
    tells it again."""
    said = json.dumps(dict(row.cells), sort_keys=True, default=str)
    return f"file {name} {row.line} {hashlib.sha256(said.encode()).hexdigest()[:16]}"


def _settled(file: Path, before: os.stat_result, now: datetime) -> bool:
    """Whether nobody has written since it was read, nor for a while before. (The renaming was a change, too.)"""
    try:
        after = file.stat()
    except FileNotFoundError:
        return False
    same = (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    return same and now - datetime.fromtimestamp(after.st_mtime, UTC) >= IN_HAND


def _beside(file: Path, sheet: Sheet, refused: Sequence[tuple[Row, str]], fault: str) -> Path | None:
    """What was refused, beside the file in `done`; one that is there from a pass that was cut off is not replaced."""
    if fault:
        why = file.with_name(f"{file.name}.why.txt")
        why.write_text(f"{fault}\n", encoding="utf-8")
        return why
    if not refused:
        return None
    beside = file.with_name(f"{file.stem}.refused{file.suffix}")
    if not beside.exists():
        unfinished = beside.with_name(f".{beside.name}.part")
        unfinished.unlink(missing_ok=True)
        write_refused(unfinished, sheet, refused)
        unfinished.rename(beside)
    return beside


def _said(name: str, told: Sequence[Fed], refused: Sequence[object], fault: str, beside: Path | None) -> str:
    if fault:
        return f"{name} was not taken: {fault}"
    more = f", {len(refused)} refused: {beside}" if beside else ""
    return f"{name}: {len(told)} rows taken{more}"


# --- a person's rows -------------------------------------------------------------------------------------------------


def naming(folder: Path, words: Sequence[str]) -> list[Path]:
    """The files in `taking` and `done` that name somebody, by any of these words."""
    there = [file for name in (TAKING, DONE) if (folder / name).is_dir() for file in _files(folder / name)]
    return [file for file in there if any(word.lower() in _text(file) for word in words)]


def _text(file: Path) -> str:
    raw = file.read_bytes()
    return raw.decode("utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8", "replace").lower()


def erase(folder: Path, words: Sequence[str]) -> int:
    """Takes every row that names somebody out of the files in `done`; a file that is no table goes whole. Returns how many files
    were changed."""
    found = [file for file in naming(folder, words) if file.parent.name == DONE]
    for file in found:
        try:
            sheet = read_sheet(file)
        except UserError:
            file.unlink()
            continue
        kept = [row.cells for row in sheet.rows if not _names(row, words)]
        anew = file.with_name(f".{file.name}.part")
        anew.unlink(missing_ok=True)
        write_sheet(anew, sheet, kept, sheet.columns)
        anew.replace(file)
    return len(found)


def _names(row: Row, words: Sequence[str]) -> bool:
    said = json.dumps(dict(row.cells), ensure_ascii=False, default=str).lower()
    return any(word.lower() in said for word in words)
