"""The demo as a moving picture for the README: one real performance, drawn as a terminal that scrolls. A program that shows no
animations, and a reader who wants none, see its end. `python -m engine.demo.picture docs/demo.svg` makes it anew."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console

from engine.demo.performance import run

COLUMNS, ROWS = 80, 32
CELL_WIDTH, LINE_HEIGHT, TOP, BOTTOM = 12.2, 24.4, 24, 16  # rich draws cells of this size
OPENING_SECONDS, ENTRY_SECONDS, CLOSING_SECONDS = 7.0, 1.3, 14.0
ENTRY = re.compile(r".{11}\d\d:\d\d ")

#: Rich fills in the single braces. Only fonts that are there already are named.
FRAME = """\
<svg viewBox="0 0 {{width}} {height}" xmlns="http://www.w3.org/2000/svg" role="img" aria-label="whoelse demo">
<style>
.{{unique_id}}-matrix {{{{ font: {{char_height}}px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }}}}
{{styles}}
.screen {{{{ transform: translateY({last}px); animation: scroll {seconds}s step-end infinite; }}}}
@keyframes scroll {{{{ {frames} }}}}
@media (prefers-reduced-motion: reduce) {{{{ .screen {{{{ animation: none; }}}} }}}}
</style>
<defs>
<clipPath id="window"><rect x="0" y="{top}" width="{{width}}" height="{window}"/></clipPath>
</defs>
<rect x="1" y="1" rx="8" width="{width}" height="{inner}" fill="#292929"/>
<g clip-path="url(#window)"><g transform="translate({{terminal_x}}, {top})"><g class="screen {{unique_id}}-matrix">
{{matrix}}
</g></g></g>
</svg>
"""


def record() -> str:
    """Plays the demo and returns it as SVG. Raises AssertionError when a story does not end as scripted."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    code = run(pace=0, console=console)
    text = console.export_text(clear=False)
    assert code == 0, text
    return drawn(console, text)


def drawn(console: Console, text: str) -> str:
    """What a console has recorded (`text`), as SVG, without what rich adds for nothing: line ends, and a clip for each text."""
    picture = console.export_svg(title="", code_format=framed(text.splitlines()), unique_id="demo")
    return re.sub(r' clip-path="url\(#demo-line-\d+\)"|<text[^>]*>\n</text>', "", picture)


def framed(lines: list[str]) -> str:
    """The frame for these lines: each thing that happened comes into view on its own, at the bottom."""
    starts = [number for number, line in enumerate(lines) if ENTRY.match(line)]
    shown = [*starts, len(lines)]
    seconds = OPENING_SECONDS + ENTRY_SECONDS * len(starts) + CLOSING_SECONDS
    times = [0.0, *(OPENING_SECONDS + ENTRY_SECONDS * number for number in range(len(starts)))]
    steps = zip(times, shown, strict=True)
    frames = " ".join(f"{100 * at / seconds:.2f}% {{{{transform: translateY({_up(n)}px)}}}}" for at, n in steps)
    return FRAME.format(
        height=TOP + ROWS * LINE_HEIGHT + BOTTOM,
        width=COLUMNS * CELL_WIDTH + 16,
        inner=TOP + ROWS * LINE_HEIGHT + BOTTOM - 2,
        window=ROWS * LINE_HEIGHT,
        top=TOP,
        last=_up(len(lines)),
        seconds=round(seconds, 1),
        frames=frames,
    )


def _up(shown: int) -> float:
    """How far the text moves so that line number `shown` is the last one in view."""
    return round((ROWS - shown) * LINE_HEIGHT, 1)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(record())
