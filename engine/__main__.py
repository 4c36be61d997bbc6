"""`whoelse`: runs one command and answers with its exit code. Whatever a user can cause is said in a sentence on standard error;
a traceback is a bug of ours."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Sequence

NO, USAGE = 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line (default: the process's) and returns 0 done, 1 the answer is no, 2 wrong usage or no config."""
    from engine.cli.app import app

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without UTF-8 shows "?" for what it does not have
    try:
        app.main(list(argv) if argv is not None else None, prog_name="whoelse")
    except SystemExit as ended:
        return _flushed(ended.code)
    except BrokenPipeError:
        return _hung_up()
    except Exception as error:
        said = explanation(error)
        if said is None:
            raise
        text, code = said
        print(text, file=sys.stderr)
        return _flushed(code)
    return _flushed(0)


def explanation(error: Exception) -> tuple[str, int] | None:
    """What to say of an error that a user can cause, and the exit code; None for a bug."""
    from engine.cli.output import clean
    from engine.errors import UserError

    if isinstance(error, UserError):
        return clean(f"whoelse: {error}"), error.exit_code
    from engine.core.render import RenderError
    from engine.database import Conflict, Unusable
    from engine.project import explained

    match error:
        case Unusable():
            return clean(f"whoelse: {explained(error)}"), NO
        case Conflict() if "was moved to" in str(error):  # the file refuses it by itself (copies.py)
            return f"whoelse: {error}", NO
        case Conflict():
            return f"whoelse: another program changed the same thing at this moment ({error}); try again", NO
        case RenderError():
            return clean(f"whoelse: {error.problem}"), NO
        case UnicodeEncodeError() if "\udc80" <= error.object[error.start] <= "\udcff":
            return (
                "whoelse: something that was typed is not UTF-8; type it again in a terminal that speaks UTF-8",
                USAGE,
            )
        case OSError(errno=errno.ENOSPC | errno.EFBIG | errno.EDQUOT | errno.EIO, filename=None):
            return f"whoelse: the output cannot be written: {error.strerror}; make room where it goes", NO
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            return f"whoelse: {where}{error.strerror or error}; see whether it is there and yours to use", NO
    return None


def _flushed(code: object) -> int:
    """The exit code, once everything has been written: a pipe that nobody reads any more shows only now."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return _hung_up()
    except OSError as error:
        with contextlib.suppress(OSError):
            print(f"whoelse: the output cannot be written: {error.strerror}; make room where it goes", file=sys.stderr)
        return NO
    return code if isinstance(code, int) else 0 if code is None else NO


def _hung_up() -> int:
    """`whoelse status | head`: the reader has enough. What is still in the buffer goes nowhere, without a word."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return NO


if __name__ == "__main__":
    sys.exit(main())
