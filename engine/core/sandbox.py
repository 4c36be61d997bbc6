"""Jinja2, made safe to run on words that strangers supplied. A template may read plain values and nothing else; what it works
and what it writes is metered, so that no expression can eat the memory or the day. Whatever a value says reaches the page
between two markers that no Markdown rule sees: only what the template's author wrote can be structure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from functools import wraps
from typing import Any

from jinja2 import StrictUndefined, Undefined, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError, TemplateRuntimeError
from jinja2.runtime import Context, str_join
from jinja2.sandbox import ImmutableSandboxedEnvironment

from engine.core.words import Language, day_text, list_text, time_text, word_list

OUTPUT_MAX = 256 * 1024  # characters of one text, and of any text on the way to it
WORK_MAX = 2_000_000  # units: about one a character or item that passes through a filter or an operator
STEP_COST = 20  # units of one round of a loop, one call, one include
NUMBER_BITS_MAX = 1024
REPEAT_MAX = 10_000
RANGE_MAX = 1_000

# Noncharacters (Unicode 23.7): no text that is meant for exchange has them.
OPEN, CLOSE = "\ufdd0", "\ufdd1"
# Control characters, lone surrogates, noncharacters, and the bidi embeddings, overrides and isolates that could turn
# around the text which follows the value.
_UNSPEAKABLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)
_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_NOT_PLAIN = re.compile(
    "[^\t\n\x20-\x7e\xa0-\u2027\u202f-\u2065\u206a-\ud7ff\ue000-\ufdcf\ufdf0-\ufffd\U00010000-\U0010ffff]"
)

_TEXT_METHODS = frozenset(
    word_list(
        "capitalize casefold count endswith find isdigit islower isupper lower lstrip partition removeprefix"
        " removesuffix rpartition rsplit rstrip split splitlines startswith strip title upper"
    )
)
_TIME_METHODS = frozenset(
    word_list(
        "year month day hour minute second weekday isoweekday isoformat date time strftime days seconds total_seconds"
    )
)
_SAFE_METHODS: tuple[tuple[type, frozenset[str]], ...] = (
    (str, _TEXT_METHODS),
    (date, _TIME_METHODS),
    (time, _TIME_METHODS),
    (timedelta, _TIME_METHODS),
    (dict, frozenset({"get", "items", "keys", "values"})),
    (list, frozenset({"count", "index"})),
    (tuple, frozenset({"count", "index"})),
    (int, frozenset()),
    (float, frozenset()),
    (Decimal, frozenset()),
)
# Filters whose result differs from run to run, that make or escape HTML, or that look inside objects. A name that is not
# there is an error at `check`.
_LEFT_OUT = ("random", "safe", "e", "escape", "forceescape", "xmlattr", "urlize", "tojson", "pprint", "attr")


class TooMuch(TemplateRuntimeError):
    """A template that works, repeats or writes more than any email needs."""


class Unfilled(TemplateRuntimeError):
    """A value that cannot stand in a sentence: nothing, an empty text, a whole record."""


class Record(dict[str, Any]):
    """A mapping as templates see it, with the path under which they found it. Its keys win over the methods of dict."""

    __slots__ = ("path",)

    def __init__(self, values: Mapping[str, Any], path: str) -> None:
        super().__init__(values)
        self.path = path


class Source(str):
    """Text that the author of a template wrote, values in it already between their markers. Every operation on it
    gives a plain str, which is then a value like any other: what was not written in a template is never structure."""

    __slots__ = ()


# --- values ------------------------------------------------------------------------------------------------------------


def plain(value: Any, path: str, zone: tzinfo | None) -> Any:
    """The value as templates may see it: text, numbers, dates (aware ones in `zone`), lists and records, nothing that
    can do something. Raises TypeError for anything else."""
    if value is None or isinstance(value, bool | int | float | Decimal):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, datetime):
        return _local(value, zone)
    if isinstance(value, date | time):
        return value
    if isinstance(value, Mapping):
        return Record({str(key): plain(item, f"{path}.{key}", zone) for key, item in value.items()}, path)
    if is_dataclass(value) and not isinstance(value, type):
        named = {field.name: getattr(value, field.name) for field in fields(value)}
        return plain(named, path, zone)
    if isinstance(value, list | tuple):
        return [plain(item, f"{path}[{index}]", zone) for index, item in enumerate(value)]
    raise TypeError(f"{path} is a {type(value).__name__}, which a template cannot use")


def _local(value: datetime, zone: tzinfo | None) -> datetime:
    if zone is None:
        return value
    return value.astimezone(zone) if value.tzinfo else value.replace(tzinfo=zone)


def clean(text: str) -> str:
    """The text without control characters and bidi tricks, every line end a newline."""
    if not _NOT_PLAIN.search(text):
        return text
    return _UNSPEAKABLE.sub("", _LINE_ENDS.sub("\n", text))


# --- the meter ---------------------------------------------------------------------------------------------------------


class _Meter:
    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = WORK_MAX


_METER: ContextVar[_Meter | None] = ContextVar("meter", default=None)


@contextmanager
def metered() -> Iterator[None]:
    """Whatever is rendered inside may work WORK_MAX units."""
    token = _METER.set(_Meter())
    try:
        yield
    finally:
        _METER.reset(token)


def charge(units: int) -> None:
    """Raises TooMuch when the rendering at hand has used up its units."""
    meter = _METER.get()
    if meter is None:
        return
    meter.left -= units
    if meter.left < 0:
        raise TooMuch("this template works too much: a loop, a macro or an include repeats itself")


def _weight(value: Any, limit: int = OUTPUT_MAX) -> int:
    """About how many characters the value would fill when it is written out; stops counting past `limit`."""
    if isinstance(value, str):
        return len(value)
    if not isinstance(value, list | tuple | dict):
        return 1
    weight = 1
    for item in value.items() if isinstance(value, dict) else value:
        weight += 1 + _weight(item, limit - weight)
        if weight > limit:
            break
    return weight


def _weigh(*values: Any) -> None:
    weight = sum(_weight(value) for value in values)
    if weight > OUTPUT_MAX:
        raise TooMuch(f"a text or list of more than {OUTPUT_MAX:,} characters")
    charge(weight)


def _joined_source(parts: Iterable[str]) -> Source:
    """What a template, a block or a macro wrote, as one text; stops as soon as it is too long."""
    pieces: list[str] = []
    length = 0
    for part in parts:
        length += len(part)
        if length > OUTPUT_MAX:
            raise TooMuch(f"this writes more than {OUTPUT_MAX:,} characters")
        pieces.append(part)
    return Source("".join(pieces))


# --- operators and filters -----------------------------------------------------------------------------------------------


def _repeated(left: Any, right: Any) -> None:
    for thing, times in ((left, right), (right, left)):
        if isinstance(thing, str | list | tuple) and isinstance(times, int) and times * _weight(thing) > OUTPUT_MAX:
            raise TooMuch(f"repeats a text or list {times:,} times")
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > NUMBER_BITS_MAX:
        raise TooMuch("multiplies numbers beyond any use")


def _raised(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() * abs(right) > NUMBER_BITS_MAX:
        raise TooMuch("raises a number beyond any use")


def _formatted(pattern: Any) -> None:
    # "%1000000000d" pads, and so does "%*d" with a width from outside.
    if isinstance(pattern, str) and (re.search(r"\d{4}", pattern) or "*" in pattern):
        raise TooMuch("formats with a width beyond any use")


def _check_operator(operator: str, left: Any, right: Any) -> None:
    match operator:
        case "*":
            _repeated(left, right)
        case "**":
            _raised(left, right)
        case "%":
            _formatted(left)
    _weigh(left, right)


def _bounded(*numbers: Any) -> None:
    if any(isinstance(number, int) and abs(number) > REPEAT_MAX for number in numbers):
        raise TooMuch(f"pads or repeats more than {REPEAT_MAX:,} times")


def _replaced(text: Any, old: Any, new: Any) -> None:
    if len(str(text)) + str(text).count(str(old)) * len(str(new)) > OUTPUT_MAX:
        raise TooMuch("replaces a short text by a long one too often")


def _check_filter(name: str, args: tuple[Any, ...], named: Mapping[str, Any]) -> None:
    every = (*args[1:], *named.values())
    if name in {"center", "indent", "batch", "slice", "wordwrap", "round", "truncate"}:
        _bounded(*every)
    if name in {"indent", "wordwrap", "batch"} and args:
        _repeated(str(args[0]).count("\n") + len(str(args[0])) // 10 + 1, " " * sum(_size(item) for item in every))
    if name == "format":
        _formatted(args[0])
    if name == "replace":
        values = [*args, *named.values()]
        _replaced(*values[:3]) if len(values) >= 3 else None
    if name == "join" and args and isinstance(args[0], list | tuple):
        _repeated(len(args[0]), "".join(str(item) for item in every))
    if name == "sum" and any(not isinstance(item, int | float | Decimal | str | None) for item in every):
        raise TooMuch("sums lists")


def _size(item: Any) -> int:
    return item if isinstance(item, int) else len(str(item))


def _metered_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, its arguments and result weighed. Jinja's own first argument (an environment or context) passes by."""
    own = 1 if hasattr(function, "jinja_pass_arg") else 0

    @wraps(function)
    def weighed(*args: Any, **named: Any) -> Any:
        _check_filter(name, args[own:], named)
        _weigh(*args[own:], *named.values())
        result = function(*args, **named)
        _weigh(result)
        return result

    return weighed


def _written(value: Any) -> str:
    """The text that stands for a value in a sentence."""
    if isinstance(value, bool) or value is None:
        raise Unfilled(f"{'nothing' if value is None else 'a yes or no'} cannot stand in a text")
    if isinstance(value, str):
        return value
    if isinstance(value, Decimal | int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(value)
    if isinstance(value, Record):
        raise Unfilled(f'"{value.path}" is a record: write {value.path}.{next(iter(value), "name")}')
    if isinstance(value, list | tuple):
        raise Unfilled('a list cannot stand in a text: write "…|listing", or go through it with {% for %}')
    raise Unfilled(f"a {type(value).__name__} cannot stand in a text")


def _filled(value: Any, path: str) -> Any:
    """A variable that a sentence names must have something to say there: "Hi ," is never sent."""
    if isinstance(value, Undefined):
        str(value)
    if value is None or (isinstance(value, str) and not isinstance(value, Source) and not value.strip()):
        raise Unfilled(f'"{path}" is empty')
    return value


# --- the environment -----------------------------------------------------------------------------------------------------


class _Metered(CodeGenerator):
    """Writes the meter into loops, includes and joins, and asks of every bare variable that it is filled."""

    def visit_Template(self, node: nodes.Template, frame: Frame | None = None) -> None:
        for loop in node.find_all(nodes.For):
            step = nodes.Call(nodes.EnvironmentAttribute("step"), [], [], None, None, lineno=loop.lineno)
            loop.body.insert(0, nodes.ExprStmt(step, lineno=loop.lineno))
        for output in node.find_all(nodes.Output):
            output.nodes = [_asked(child) for child in output.nodes]
        super().visit_Template(node, frame)

    def visit_Include(self, node: nodes.Include, frame: Frame) -> None:
        self.writeline("environment.step()", node)
        super().visit_Include(node, frame)

    def visit_Import(self, node: nodes.Import, frame: Frame) -> None:
        node.with_context = True  # a macro that names `rep` means the one of this email
        super().visit_Import(node, frame)

    def visit_FromImport(self, node: nodes.FromImport, frame: Frame) -> None:
        node.with_context = True
        super().visit_FromImport(node, frame)

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.joined((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_FilterBlock(self, node: nodes.FilterBlock, frame: Frame) -> None:
        self.fail("{% filter %} is not available; put the filter on the variables", node.lineno)


def _asked(child: nodes.Expr) -> nodes.Expr:
    path = _words_of(child)
    if not path:
        return child
    return nodes.Filter(child, "filled", [nodes.Const(path)], [], None, None, lineno=child.lineno)


def _words_of(node: nodes.Expr) -> str:
    """A variable, or one variable or else another, as it is written; an empty text for any other expression."""
    if isinstance(node, nodes.Or):
        sides = _words_of(node.left), _words_of(node.right)
        return " or ".join(sides) if all(sides) else ""
    return path_of(node)


def path_of(node: nodes.Node) -> str:
    """`client.first_name` for the nodes of that expression, an empty text for any other."""
    if isinstance(node, nodes.Name):
        return node.name
    if isinstance(node, nodes.Getattr):
        base = path_of(node.node)
        return f"{base}.{node.attr}" if base else ""
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
        base = path_of(node.node)
        return f"{base}.{node.arg.value}" if base else ""
    return ""


def _short_range(*args: int) -> range:
    numbers = range(*args)
    if len(numbers) > RANGE_MAX:
        raise TooMuch(f"counts over more than {RANGE_MAX:,} numbers")
    return numbers


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment in which all templates of one language run; thread-safe once made."""

    code_generator_class = _Metered
    intercepted_binops = frozenset({"*", "**", "+", "%"})
    concat = staticmethod(_joined_source)

    def __init__(self, language: Language, loader: Any = None) -> None:
        super().__init__(
            loader=loader,
            undefined=StrictUndefined,
            autoescape=False,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            auto_reload=False,
            cache_size=-1,
        )
        self.language = language
        self.finalize = self._marked
        self.globals["range"] = _short_range
        self.globals.pop("lipsum")  # it is random
        self.filters.update(day=self._day, time=self._time, listing=self._listing)
        for name in _LEFT_OUT:
            self.filters.pop(name)
        self.filters = {name: _metered_filter(name, function) for name, function in self.filters.items()}
        self.filters["filled"] = _filled

    def _day(self, value: date) -> str:
        return day_text(value, self.language)

    def _time(self, value: datetime | time) -> str:
        return time_text(value)

    def _listing(self, value: Iterable[Any]) -> str:
        return list_text([_written(item) for item in ([value] if isinstance(value, str) else value)], self.language)

    def _marked(self, value: Any) -> Any:
        if type(value) is Source:
            return value
        if isinstance(value, Undefined):
            return str(value)  # raises, but for an inline if without its else
        if isinstance(value, datetime):
            value = f"{self._day(value)}, {time_text(value)}"
        elif isinstance(value, date):
            value = self._day(value)
        elif isinstance(value, time):
            value = time_text(value)
        return f"{OPEN}{clean(_written(value))}{CLOSE}"

    def step(self) -> None:
        """One round of a loop, or one include."""
        charge(STEP_COST)

    def joined(self, parts: tuple[Any, ...]) -> str:
        """What `~` makes."""
        _weigh(*parts)
        return str_join(parts)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        _check_operator(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        charge(STEP_COST)
        _weigh(*args)
        if getattr(__obj, "__name__", "") == "strftime":
            _formatted(args[0] if args else "")
        return super().call(__context, __obj, *args, **kwargs)

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Record):
            if attribute in obj:
                return obj[attribute]
            if attribute not in _SAFE_METHODS[4][1]:
                return self._missing(obj, attribute)
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, Record) and isinstance(argument, str) and argument not in obj:
            return self._missing(obj, argument)
        return super().getitem(obj, argument)

    def _missing(self, record: Record, name: str) -> Undefined:
        return self.undefined(f'"{record.path}" has no "{name}"; it has {", ".join(record) or "nothing"}', name=name)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        for kind, allowed in _SAFE_METHODS:
            if isinstance(obj, kind):
                return attr in allowed
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> None:
        """`"…".format` is among the methods that a text does not have here; `%` and `|format` are bounded."""

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        message = f'"{attribute}" of a {type(obj).__name__} is not available in a template'
        return self.undefined(message, name=attribute, exc=SecurityError)
