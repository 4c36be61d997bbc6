"""The benchmark at so small a size that it says nothing about speed: its figures have the documented shape, and each stands on an
outcome that was asserted."""

from __future__ import annotations

import json
import os
import smtplib
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine.bench import FIGURES, name_of, peers, run, sink
from engine.bench.harness import Ground, Row, compare
from engine.bench.servers import Missing
from engine.cli.app import app

SHAPE = ["bench", "op", "target", "ratio", "met", "engine", "reference", "unit", "note"]
pytestmark = pytest.mark.io


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """One for all: what several figures share is made once. A short path that the servers' users may enter."""
    with tempfile.TemporaryDirectory(prefix="whoelse-") as folder:
        Path(folder).chmod(0o711)
        ground = Ground(Path(folder), "tiny")
        with ground.stack:
            yield ground


@pytest.mark.parametrize("figure", [*map(name_of, FIGURES)])
def test_every_figure_stands_on_its_outcome(figure: str, ground: Ground) -> None:
    rows = list(run(ground, [figure]))
    assert rows
    for row in rows:
        assert row.bench.partition("/")[0] == figure
        if row.note.startswith("not measured") and os.environ.get("CI") != "true":
            assert (row.met, row.ratio, row.engine, row.reference) == (False, None, None, None)
            continue
        assert row.engine and row.engine > 0
        assert (row.ratio is None) == (row.reference is None)
        assert list(asdict(row)) == SHAPE and json.dumps(asdict(row))


def test_a_row_that_is_named_comes_alone(ground: Ground) -> None:
    assert [row.bench for row in run(ground, ["start/help"])] == ["start/help"]


def test_the_median_of_the_pairs_counts_and_not_the_ratio_of_the_medians() -> None:
    ours, theirs = iter([1.0, 9.0, 4.0]), iter([1.0, 3.0, 1.0])
    row = compare("x", "<=", 3.0, lambda: next(ours), lambda: next(theirs), "ms", pairs=3)
    assert row == Row("x", "<=", 3.0, 3.0, True, 4.0, 1.0, "ms", "")


def test_the_sink_counts_what_it_accepted_and_finds_what_came_twice() -> None:
    with sink.sink() as server:
        with smtplib.SMTP(sink.HOST, server.port) as smtp:
            for id in ("one", "two", "two"):
                smtp.sendmail("a@b.example", ["c@d.example"], f"Message-ID: <{id}@b.example>\r\n\r\n.dots\r\n.\r\n")
        assert server.count() == (3, 2)
        assert server.count() == (0, 0)
        with pytest.raises(AssertionError, match="1 sent, 0 accepted"):
            server.settle(1)


def test_the_command_prints_one_document_and_says_by_its_exit_code_whether_all_is_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = Row("x/1", "<=", 2.0, 1.5, True, 3.0, 2.0, "ms", "")
    for met, code in ((True, 0), (False, 1)):
        found = [Row(**{**asdict(row), "met": met})]
        monkeypatch.setattr("engine.bench.run", lambda *_, rows=found: iter(rows))
        done = CliRunner().invoke(app, ["bench", "--json"])
        assert done.exit_code == code
        assert json.loads(done.stdout) == [asdict(found[0])]
        done = CliRunner().invoke(app, ["bench"])
        assert done.exit_code == code and ("Not reached: x/1." in done.stdout) is not met


def test_an_unknown_figure_is_refused() -> None:
    done = CliRunner().invoke(app, ["bench", "--only", "sned"])
    assert done.exit_code == 2 and "there are start, send" in done.stderr


def test_a_peer_comes_only_when_it_is_asked_for_and_says_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert not Ground(tmp_path).wants_peer("send/peer")
    assert Ground(tmp_path, "full").wants_peer("send/peer")
    assert Ground(tmp_path, only=frozenset({"send/peer"})).wants_peer("send/peer")
    monkeypatch.setattr(peers, "_installed", lambda *_: Path(sys.executable))
    ground = Ground(tmp_path)
    assert peers.figure(ground, "import sys; print(sys.argv[1])", (), "2.5") == 2.5
    with pytest.raises(Missing, match="No module named 'nothing_like_this'"):
        peers.figure(ground, "import nothing_like_this", ())
