"""How to reach one rep's mail server, and what is wrong with it in words that a rep can act on.

A secret is asked for when it is needed and kept nowhere; it appears in no text. Nothing travels in the clear except to
this machine itself."""

from __future__ import annotations

import base64
import functools
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

Security = Literal["starttls", "tls", "none"]

#: OpenSSL's verification results (x509_vfy.h) that have a remedy of their own.
EXPIRED, HOST_MISMATCH, ADDRESS_MISMATCH = 10, 62, 64


@dataclass(frozen=True)
class Account:
    """One login at one server.

    `secret` gives the password or, with `oauth`, a fresh access token; it is asked at each connect and may block. An empty
    `user` means no login. `cafile` is a PEM file to trust instead of the system's authorities."""

    host: str
    port: int
    security: Security
    user: str
    secret: Callable[[], str] = field(repr=False)
    oauth: bool = False
    cafile: str = ""

    @property
    def where(self) -> str:
        return f"{self.host}:{self.port}"


class SecretError(Exception):
    """The secret could not be had; the text says why and holds no part of it."""


def ask_secret(account: Account) -> str:
    """The password or token, now. Raises SecretError when there is none that could be sent."""
    try:
        secret = account.secret()
    except Exception as error:
        if account.user and account.user in str(error):  # it says whose it is, and what to do
            raise SecretError(str(error)) from error
        raise SecretError(f"the password for {account.user} at {account.where} could not be read: {error}") from error
    if not secret or any(ord(character) < 32 for character in secret):
        raise SecretError(f"the password for {account.user} at {account.where} is empty or holds a line break")
    return secret


def redact(text: str, secret: str) -> str:
    """The text without the secret, plain or in base64 (a server may quote what it was sent)."""
    for form in (secret, base64.b64encode(secret.encode()).decode()):
        text = text.replace(form, "***") if form else text
    return text


def objection(account: Account) -> str | None:
    """Why this account must not be connected to at all; None when it may."""
    if account.security == "none" and not is_loopback(account.host):
        return (
            f"{account.where}: `security: none` would send the password in the clear, which is allowed to this machine"
            " only; use `starttls` or `tls`"
        )
    return None


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@functools.cache
def tls_context(cafile: str) -> ssl.SSLContext:
    """One context for all connections that trust the same authorities (a context of its own costs each 0.5 MB)."""
    return ssl.create_default_context(cafile=cafile or None)


def explain(account: Account, error: BaseException) -> str:
    """A failed connection in a sentence: where, what is wrong, what to do."""
    for cause in chain(error):
        if (reason := reason_for(account, cause)) is not None:
            return f"{account.where} {reason}"
    return f"{account.where}: {error}"


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came from, the innermost first: libraries wrap the cause that says most."""
    if error is not None:
        yield from chain(error.__cause__ or error.__context__)
        yield error


def reason_for(account: Account, error: BaseException) -> str | None:
    match error:
        case ssl.SSLCertVerificationError():
            return distrust(account, error)
        case ssl.SSLError(reason="WRONG_VERSION_NUMBER" | "RECORD_LAYER_FAILURE"):
            return "does not begin with TLS on this port; use `security: starttls`, or its TLS port (465, 993)"
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            return "closed the connection"
        case ssl.SSLError():
            return f"failed to set up TLS: {error.reason or error}"
        case socket.gaierror():
            return f"cannot be found: {error.strerror}; check the host name and the network"
        case OSError() if isinstance(error, ConnectionRefusedError) or "[Errno 111]" in str(
            error
        ):  # asyncio joins several
            return "refused the connection: nothing listens there; check host and port"
        case TimeoutError():
            return "did not answer in time; check host, port and firewall"
        case FileNotFoundError() | PermissionError() if account.cafile:
            return f"cannot be verified: the file `cafile: {account.cafile}` cannot be read ({error.strerror})"
        case OSError(strerror=str(text)) if not isinstance(error, ConnectionError):
            return f"cannot be reached: {text}"
        case ConnectionError():
            return "closed the connection"
        case _:
            return None


def distrust(account: Account, error: ssl.SSLCertVerificationError) -> str:
    match error.verify_code:
        case code if code in (HOST_MISMATCH, ADDRESS_MISMATCH):
            remedy = "use the host name that its certificate is made for"
        case code if code == EXPIRED:
            remedy = "its operator must renew it"
        case _:
            remedy = "if the server has a private authority, name that one's certificate in `cafile`"
    return f"shows a certificate that cannot be trusted: {error.verify_message}; {remedy}"
