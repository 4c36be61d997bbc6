"""Other programs that do the same work, for rows that compare with them. They are no dependency of ours: each is installed when its
row is asked for, by pip, into an environment of its own that goes with the measurement."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

from engine.bench.harness import Ground
from engine.bench.servers import Missing

INSTALL_SECONDS_MAX, RUN_SECONDS_MAX = 600, 600

#: django-post-office on SQLite as it comes: so many emails are put into its queue, and its own loop sends them. Messages a second.
POST_OFFICE = """
import sys, time
import django
from django.conf import settings
port, emails = int(sys.argv[1]), int(sys.argv[2])
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "post_office.db"}},
    INSTALLED_APPS=["django.contrib.contenttypes", "post_office"], EMAIL_BACKEND="post_office.EmailBackend",
    EMAIL_HOST="127.0.0.1", EMAIL_PORT=port, DEFAULT_AUTO_FIELD="django.db.models.AutoField", USE_TZ=True,
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    CACHES={"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}},
)
django.setup()
from django.core.management import call_command
from post_office import mail
call_command("migrate", verbosity=0)
words = "Hi Dana, who else do you know whose evenings go into month-end closing? " * 20
for n in range(emails):
    mail.send(f"dana@client{n}.example", "rep@bench.example", subject="Who else?", message=words, html_message=f"<p>{words}</p>")
began, sent = time.perf_counter(), 0
while sent < emails:
    some, failed, _ = mail.send_queued(log_level=0)
    assert some and not failed, (sent, some, failed)
    sent += some
print(emails / (time.perf_counter() - began))
"""

#: Procrastinate's own fetch of a job, as its worker does it, each committed. Fetches a second.
PROCRASTINATE = """
import sys, time
from importlib.resources import files
import psycopg
url, jobs = sys.argv[1], int(sys.argv[2])
with psycopg.connect(url, autocommit=True) as connection:
    connection.execute((files("procrastinate") / "sql" / "schema.sql").read_text())
    connection.execute(
        "INSERT INTO procrastinate_jobs (queue_name, task_name, args) "
        "SELECT 'bench', 'send', jsonb_build_object('raw', repeat('x', 2500)) FROM generate_series(1, %s)", (jobs,))
    (worker,) = connection.execute("SELECT worker_id FROM procrastinate_register_worker_v1()").fetchone()
    began, fetched = time.perf_counter(), 0
    while connection.execute("SELECT id FROM procrastinate_fetch_job_v2(NULL, %s)", (worker,)).fetchone()[0] is not None:
        fetched += 1
    assert fetched == jobs, fetched
    print(jobs / (time.perf_counter() - began))
"""


def figure(ground: Ground, script: str, packages: tuple[str, ...], *arguments: str) -> float:
    """What a peer's script prints. Raises Missing where it cannot be installed or does not run."""
    python = ground.once(f"python with {packages}", lambda: _installed(ground, packages))
    return float(_run(ground.fresh("peer"), [str(python), "-c", script, *arguments], RUN_SECONDS_MAX))


def _installed(ground: Ground, packages: tuple[str, ...]) -> Path:
    folder = ground.fresh("scratch")
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    _run(folder, [str(python), "-m", "pip", "install", "--quiet", *packages], INSTALL_SECONDS_MAX)
    return python


def _run(folder: Path, command: list[str], seconds_max: int) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=seconds_max)
    except subprocess.TimeoutExpired:
        raise Missing(f"the peer took longer than {seconds_max} s") from None
    if done.returncode:
        raise Missing("the peer cannot be installed or run: " + (done.stderr.strip().splitlines() or ["no word"])[-1])
    return done.stdout
