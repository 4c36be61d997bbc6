"""Charts as SVG that stands in a page: plain shapes with classes, so that the page's colours hold for light, dark and paper alike.
Nothing is drawn that does not stand as a number beside it, and every chart says in words what it shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from engine.core.proportion import Share
from engine.origins import Branch, became

WIDTH = 880
LABEL = 110
#: The funnel: the height of a row, and what the numbers behind a bar need.
ROW, ROOM = 42, 210
COLUMNS_HEIGHT, AXIS = 200, 34
PART_MIN = 3.0
TREE_ROW, TREE_INDENT = 26, 26
#: More lines than that are told in the table alone.
TREE_ROWS_MAX = 120


def _svg(body: Iterable[str], width: float, height: float, words: str, kind: str) -> str:
    inside = "".join(body)
    return (
        f'<svg class="{kind}" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(words)}">{inside}</svg>'
    )


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'


def _rect(x: float, y: float, width: float, height: float, kind: str, radius: float = 3, title: str = "") -> str:
    tip = f"<title>{escape(title)}</title>" if title else ""
    size = f'width="{max(width, 0):.1f}" height="{height:.1f}"'
    return f'<rect x="{x:.1f}" y="{y:.1f}" {size} rx="{radius:g}" class="{kind}">{tip}</rect>'


def percent(rate: float | None) -> str:
    """`12 %`, `0.4 %`; a dash where there was nobody."""
    if rate is None:
        return "–"
    return f"{rate * 100:.1f} %" if 0 < rate < 0.0095 else f"{rate * 100:.0f} %"


def interval(share: Share) -> str:
    """`9–20 %`: where the true share lies, with 95 % confidence."""
    low, high = (round(end * 100) for end in share.interval)
    return f"{low}–{high} %"


def funnel(stages: Sequence[tuple[str, int]]) -> str:
    """Each stage as a bar of those asked, with its number, and how many of the stage before came so far."""
    most = max((count for _, count in stages), default=0) or 1
    body = []
    for place, (name, count) in enumerate(stages):
        y = place * ROW
        width = (WIDTH - LABEL - ROOM) * count / most
        body += [
            _text(LABEL - 12, y + 20, name, "label", "end"),
            _rect(LABEL, y + 3, WIDTH - LABEL - ROOM, 26, "track"),
            _rect(LABEL, y + 3, width, 26, "fill won" if name == "won" else "fill"),
            _text(WIDTH - ROOM + 10, y + 21, str(count), "number"),
        ]
        if place:
            said = f"{percent(count / stages[0][1] if stages[0][1] else None)} of those asked"
            body.append(_text(WIDTH - ROOM + 50, y + 21, said, "small"))
    words = "Funnel: " + ", ".join(f"{count} {name}" for name, count in stages)
    return _svg(body, WIDTH, len(stages) * ROW - 10, words, "funnel")


def bar(rate: float | None, kind: str = "fill") -> str:
    """A small bar for a table's cell; its number stands beside it."""
    width = 100 * min(1.0, rate or 0.0)
    shapes = _rect(0, 0, 100, 8, "track", 2) + _rect(0, 0, width, 8, kind, 2)
    return f'<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">{shapes}</svg>'


def whisker(share: Share, top: float) -> str:
    """A share as a dot on a scale from 0 to `top`, with a line from one end of its interval to the other."""
    if not share.of:
        return ""
    low, high = (100 * min(1.0, end / top) for end in share.interval)
    at = 100 * min(1.0, (share.rate or 0.0) / top)
    shapes = (
        '<line x1="0" x2="104" y1="6" y2="6" class="rule"/>'
        f'<line x1="{low + 2:.1f}" x2="{high + 2:.1f}" y1="6" y2="6" class="reach"/>'
        f'<circle cx="{at + 2:.1f}" cy="6" r="3.4" class="dot"/>'
    )
    return f'<svg class="whisker" viewBox="0 0 104 12" aria-hidden="true">{shapes}</svg>'


def benchmark(share: Share, marks: Mapping[str, float]) -> str:
    """One's own share with its interval on a scale, beside published ones."""
    top = max(0.2, share.interval[1] if share.of else 0.0, *marks.values()) * 1.1

    def place(rate: float) -> float:
        return 20 + (WIDTH - 40) * rate / top

    low, high = share.interval if share.of else (0.0, 0.0)
    body = [_rect(20, 44, WIDTH - 40, 18, "track")]
    if share.of:
        body += [
            _rect(place(low), 44, place(high) - place(low), 18, "band"),
            f'<circle cx="{place(share.rate or 0):.1f}" cy="53" r="7" class="dot"/>',
            _text(_inside(place(share.rate or 0), 60), 30, f"you: {percent(share.rate)}", "number", "middle"),
        ]
    for line, (name, rate) in enumerate(
        sorted(marks.items(), key=lambda mark: -mark[1])
    ):  # a line each: they lie close
        x, y = place(rate), 84 + 17 * line
        body += [
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="38" y2="{y}" class="mark"/>',
            _text(x + 6, y, f"{name} {percent(rate)}", "small"),
        ]
    said = f"you {percent(share.rate)} ({interval(share)})" if share.of else "nobody was referred yet"
    words = f"Referred people who were met: {said}; " + ", ".join(
        f"{name} {percent(rate)}" for name, rate in marks.items()
    )
    return _svg(body, WIDTH, 78 + 17 * len(marks), words, "benchmark")


def _inside(x: float, room: float) -> float:
    return min(max(x, room), WIDTH - room)


def columns(periods: Sequence[str], series: Mapping[str, Sequence[int]]) -> str:
    """A group of columns for each period, one a series; the numbers stand above them where there is room."""
    most = max((n for numbers in series.values() for n in numbers), default=0) or 1
    group = (WIDTH - 20) / max(len(periods), 1)
    each = min(26.0, group * 0.8 / max(len(series), 1))
    body = [f'<line x1="10" x2="{WIDTH - 10}" y1="{COLUMNS_HEIGHT}" y2="{COLUMNS_HEIGHT}" class="rule"/>']
    for place, period in enumerate(periods):
        middle = 10 + group * (place + 0.5)
        left = middle - each * len(series) / 2
        for number, (name, counts) in enumerate(series.items()):
            height = (COLUMNS_HEIGHT - 22) * counts[place] / most
            x = left + number * each
            title = f"{period}: {counts[place]} {name}"
            body.append(_rect(x + 1, COLUMNS_HEIGHT - height, each - 2, height, f"series{number}", 2, title))
            if counts[place] and each >= 11:
                body.append(_text(x + each / 2, COLUMNS_HEIGHT - height - 5, str(counts[place]), "tiny", "middle"))
        body.append(_text(middle, COLUMNS_HEIGHT + 18, period, "small", "middle"))
    words = "By period: " + "; ".join(
        f"{period} {', '.join(f'{counts[place]} {name}' for name, counts in series.items())}"
        for place, period in enumerate(periods)
    )
    return _svg(body, WIDTH, COLUMNS_HEIGHT + AXIS - 8, words, "columns")


def parts(counts: Sequence[tuple[str, str, int]]) -> str:
    """One bar cut into its parts, in the order given: the class of each, its name and its number. What it is stands beside it."""
    everyone = sum(count for *_, count in counts)
    x, body = 0.0, []
    for kind, name, count in counts:
        if count:
            width = max(PART_MIN, WIDTH * count / everyone)
            body.append(_rect(x, 0, width - 2, 26, kind, 2, f"{name}: {count}"))
            x += width
    words = "Clients: " + ", ".join(f"{count} {name}" for _, name, count in counts)
    return _svg(body, max(x, WIDTH), 26, words, "parts") if everyone else ""


def family(branches: Sequence[Branch]) -> str:
    """Who introduced whom as a tree, a line for each person. Empty where there is nobody."""
    rows: list[tuple[int, Branch]] = []
    for branch in branches:
        _rows(branch, 0, rows)
    shown = rows[:TREE_ROWS_MAX]
    body: list[str] = []
    last: dict[int, int] = {}
    for place, (depth, branch) in enumerate(shown):
        x, y = 10 + depth * TREE_INDENT, 14 + place * TREE_ROW
        if depth:
            above = last[depth - 1]
            start = 14 + above * TREE_ROW + 6
            body.append(f'<path d="M{x - TREE_INDENT} {start}V{y}H{x - 6}" class="branch"/>')
        last[depth] = place
        state = branch.referral.state if branch.referral else "client"
        body.append(f'<circle cx="{x}" cy="{y}" r="5.5" class="state {state}"><title>{escape(state)}</title></circle>')
        name = f"{branch.name}, {branch.company}" if branch.company else branch.name
        body.append(_text(x + 13, y + 5, name, "label"))
        if branch.referral:
            body.append(_text(WIDTH - 10, y + 5, became(branch), "small", "end"))
    if len(rows) > len(shown):
        body.append(_text(10, 14 + len(shown) * TREE_ROW + 5, f"and {len(rows) - len(shown)} more", "small"))
    height = (min(len(rows), TREE_ROWS_MAX) + (len(rows) > len(shown))) * TREE_ROW + 4
    return _svg(body, WIDTH, height, f"Who introduced whom: {len(rows)} people", "family") if rows else ""


def _rows(branch: Branch, depth: int, rows: list[tuple[int, Branch]]) -> None:
    rows.append((depth, branch))
    for below in branch.branches:
        _rows(below, depth + 1, rows)


STYLE = (
    "svg{font:15px system-ui,sans-serif;background:#fff}text{fill:#1b2027}text.small{fill:#59636e;font-size:12.5px}"
    ".branch{fill:none;stroke:#c3cad2;stroke-width:1.5}.state{fill:#fff;stroke:#59636e;stroke-width:2}"
    ".client{fill:#1b2027;stroke:#1b2027}.contacted,.met{stroke:#2b6cd4}.met{fill:#a9c6f2}.won{fill:#1c7f53;stroke:#1c7f53}"
    ".lost{stroke:#b3372f}.track{fill:#eef1f4}.fill{fill:#2b6cd4}.fill.won{fill:#1c7f53}text.number{font-weight:600}"
    "text.tiny{fill:#59636e;font-size:11px}.rule{stroke:#c3cad2;stroke-width:1.5}.series0{fill:#a9c6f2}.series1{fill:#2b6cd4}"
    ".series2{fill:#1c7f53}"
)


def standalone(svg: str) -> str:
    """A chart as a file of its own, with the colours that a page would give it."""
    body = svg or _svg([_text(10, 24, "Nobody was named yet.")], WIDTH, 40, "Nobody was named yet", "family")
    opening, rest = body.split(">", 1)
    return f'{opening} xmlns="http://www.w3.org/2000/svg"><style>{STYLE}</style>{rest}\n'
