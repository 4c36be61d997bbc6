"""Telling a program or an address of the rep's own choice of an introduction, or of a trouble and its end. Every way of failing
is a sentence, never an exception, and none lasts long: whoever calls stops nothing for it. A post is signed as the Standard
Webhooks specification says (standardwebhooks.com), its id the same in every try."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import http.client
import os
import signal
import ssl
import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from engine.config import Alerts, Webhook
from engine.core.model import Alert
from engine.errors import UserError
from engine.secrets import kept

TIME_SECONDS = 30.0
#: Whoever dies in the middle of one leaves it to be tried again after this.
LEASE = timedelta(minutes=2)
#: Between the tries; after the last it is given up.
PAUSES = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=20), timedelta(hours=1))
#: What a program of the rep's learns of the environment: no password, no key.
KEPT_OF_THE_ENVIRONMENT = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "DISPLAY", "WAYLAND_DISPLAY",
                           "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "SYSTEMROOT")  # fmt: skip


async def tell(how: Alerts, alert: Alert, now: datetime, environ: Mapping[str, str]) -> str | None:
    """Tries once, at `now` (UTC). None when it worked or is wanted no longer, else what went wrong."""
    if alert.kind == "command":
        return await run(how.command, alert.facts, environ) if how.command else None
    if how.webhook is None:
        return None
    try:
        secret = kept(how.webhook.secret, "the secret of the webhook", alert.rep, environ)
    except UserError as error:
        return str(error)
    return await in_time(how.webhook, alert, secret.encode(), now)


async def run(command: tuple[str, ...], facts: str, environ: Mapping[str, str]) -> str | None:
    """Runs a program without a shell, the facts on its standard input."""
    known = {name: environ[name] for name in KEPT_OF_THE_ENVIRONMENT if name in environ}
    nowhere = asyncio.subprocess.DEVNULL
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=nowhere, stderr=nowhere, env=known, start_new_session=True
        )
    except OSError as error:
        return f"{command[0]} cannot be started: {error.strerror}"
    try:
        await asyncio.wait_for(process.communicate(facts.encode()), TIME_SECONDS)
    except TimeoutError:
        return f"{command[0]} did not end within {TIME_SECONDS:.0f} seconds"
    finally:
        if process.returncode is None:  # also when the daemon stops; and with it what it has started
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
    return f"{command[0]} ended with exit code {process.returncode}" if process.returncode else None


async def in_time(webhook: Webhook, alert: Alert, secret: bytes, now: datetime) -> str | None:
    """Posts in a thread of its own, which holds up nobody: not even the end of the process, however slowly the other answers."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str | None] = loop.create_future()

    def told(said: str | None) -> None:
        if not answer.done():
            answer.set_result(said)

    def work() -> None:
        said = post(webhook.url, alert.id.partition(" ")[0], alert.facts.encode(), secret, now)
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(told, said)

    threading.Thread(target=work, daemon=True, name="webhook").start()
    try:
        return await asyncio.wait_for(answer, TIME_SECONDS)
    except TimeoutError:
        return f"{urlsplit(webhook.url).hostname} did not answer within {TIME_SECONDS:.0f} seconds"


def post(url: str, id: str, body: bytes, secret: bytes, now: datetime) -> str | None:
    """One POST; a redirect is a refusal. None when the other has taken it (2xx), else what went wrong."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    secure = parts.scheme == "https"
    connection = (
        http.client.HTTPSConnection(host, parts.port, timeout=TIME_SECONDS / 2, context=ssl.create_default_context())
        if secure
        else http.client.HTTPConnection(host, parts.port, timeout=TIME_SECONDS / 2)
    )
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", path, body, headers(id, body, secret, now))
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"{host} cannot be told: {error or type(error).__name__}"
    except ValueError:  # base64 that is none
        return "the secret of the webhook begins with whsec_ and is not base64 behind it"
    finally:
        connection.close()
    return None if 200 <= status < 300 else f"{host} answered {status}"


def headers(id: str, body: bytes, secret: bytes, now: datetime) -> dict[str, str]:
    """The three headers of Standard Webhooks; a secret that begins with `whsec_` is base64, any other is taken as it stands."""
    stamp = str(int(now.timestamp()))
    key = base64.b64decode(secret[6:]) if secret.startswith(b"whsec_") else secret
    digest = hmac.digest(key, b".".join((id.encode(), stamp.encode(), body)), hashlib.sha256)
    return {
        "Content-Type": "application/json",
        "User-Agent": "whoelse",
        "webhook-id": id,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
