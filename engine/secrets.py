"""Where passwords, tokens and the installation's key come from: the environment, a file that only its owner can read, the
keyring, a program. They are read when they are needed, kept nowhere, and stand in no error, log or repr."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import UserError

if TYPE_CHECKING:
    from engine.config import Config, Mailbox, Password

COMMAND_TIMEOUT_SECONDS = 30
FILE_BYTES_MAX = 64 * 1024
KEY_VARIABLE = "WHOELSE_SECRET"
KEY_CHARACTERS_MIN = 32


def secret(mailbox: Mailbox, environ: Mapping[str, str]) -> Callable[[], str]:
    """A function that gives the mailbox's password or, with `token_command`, a fresh access token.

    It reads anew at every call, may block up to COMMAND_TIMEOUT_SECONDS, and raises UserError with a remedy."""
    password = mailbox.password
    if mailbox.token_command:
        return lambda: _from_program(mailbox.address, mailbox.token_command, environ)
    if password is None:
        return lambda: _missing(mailbox.address)
    return lambda: kept(password, f"the password of {mailbox.address}", mailbox.user, environ)


def kept(password: Password, what: str, user: str, environ: Mapping[str, str]) -> str:
    """What is kept there, read anew; `what` names it in errors, `user` in a keyring. Raises UserError with a remedy."""
    if password.source == "env":
        return _from_environment(what, password.name, environ)
    if password.source == "file":
        return read_private(Path(password.name), what)
    return _from_keyring(what, password.name, user)


def endpoint_token(config: Config, environ: Mapping[str, str]) -> str:
    """The token that other systems show when they tell of a moment. Raises UserError where there is none worth the name."""
    where, whose = config.moments.token, "the moments endpoint"
    assert where is not None, "the config insists on one"
    token = kept(where, f"the password of {whose}", "moments", environ)
    if len(token) < KEY_CHARACTERS_MIN or not token.isascii() or len(token.split()) != 1:
        message = f"the token of {whose} is no single word of {KEY_CHARACTERS_MIN} characters or more"
        raise UserError(message, remedy="make one with: openssl rand -hex 32")
    return token


def _missing(address: str) -> str:
    raise UserError(f"{address} has no password yet", remedy="add `password: {env: NAME}` to its mailbox in the config")


def _from_environment(what: str, name: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name, "")
    if not value:
        message = f"{what} is to come from the environment variable {name}, which is not set"
        raise UserError(message, remedy=f"set {name} where whoelse starts")
    return value


def read_private(path: Path, what: str) -> str:
    """The first line of a file that nobody but its owner can read. Raises UserError for any other."""
    try:
        with path.open("rb") as file:
            if os.name == "posix" and os.fstat(file.fileno()).st_mode & 0o077:
                raise UserError(f"{what} is in {path}, which others can read", remedy=f"chmod 600 {path}")
            content = file.read(FILE_BYTES_MAX).decode()
    except OSError as error:
        raise UserError(f"{what} is to come from {path}: {error.strerror}", remedy="create that file") from None
    except UnicodeDecodeError:
        raise UserError(f"{what} is to come from {path}, which is no text", remedy="save it as UTF-8") from None
    line = content.partition("\n")[0].rstrip("\r")
    if not line:
        raise UserError(f"{what} is to come from {path}, whose first line is empty", remedy="write it there")
    return line


def _from_keyring(what: str, service: str, user: str) -> str:
    remedy = f"keyring set {service} {user}"
    try:
        import keyring
    except ImportError:
        message = f"{what} is to come from the keyring, which is not installed"
        raise UserError(message, remedy="pip install 'whoelse[keyring]'") from None
    try:
        password = keyring.get_password(service, user)
    except Exception as error:  # each backend raises its own
        message = f"the keyring did not give {what} ({type(error).__name__})"
        raise UserError(message, remedy=f"unlock it, or on a machine without a desktop use a file; {remedy}") from None
    if not password:
        raise UserError(f"the keyring has no password for {user} under {service}", remedy=remedy)
    return str(password)


def _from_program(address: str, command: tuple[str, ...], environ: Mapping[str, str]) -> str:
    """What the program prints. Neither its output nor its complaints are shown: either may hold the token."""
    what, remedy = f"the token_command of {address}", "run it by hand to see why"
    try:
        process = subprocess.Popen(  # noqa: S603  the operator's own command, and no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(environ),
            start_new_session=True,
        )
    except OSError as error:
        message = f"{what} cannot be started: {command[0]}: {error.strerror}"
        raise UserError(message, remedy="give the program's whole path") from None
    try:
        output, _ = process.communicate(timeout=COMMAND_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise UserError(f"{what} gave nothing in {COMMAND_TIMEOUT_SECONDS} seconds", remedy=remedy) from None
    finally:
        if process.stdout is not None:
            process.stdout.close()
    if process.returncode:
        raise UserError(f"{what} ended with exit code {process.returncode}", remedy=remedy)
    token = output.decode(errors="replace").strip()
    if not token.isascii() or not token or len(token.split()) != 1:
        raise UserError(f"{what} did not print one token", remedy=remedy)
    return token


def installation_key(config: Config, environ: Mapping[str, str]) -> bytes:
    """The key under which Message-IDs and unsubscribe tokens are made, the same on every machine of an installation.
    Raises UserError when there is none, or none worth the name."""
    text = environ.get(KEY_VARIABLE, "") or read_private(config.secret, "the installation's key")
    if len(text) < KEY_CHARACTERS_MIN:
        message = f"the installation's key is shorter than {KEY_CHARACTERS_MIN} characters"
        raise UserError(message, remedy=f"restore {config.secret} from your backup")
    return text.encode()


def create_key(path: Path) -> None:
    """A new key in a file of mode 0600. Raises FileExistsError rather than replace one: old ids would be lost."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(os.urandom(32).hex() + "\n")
