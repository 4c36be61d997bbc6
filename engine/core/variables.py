"""Which variables a template uses, found without running it: through includes, imports, macros and parents, with the place of
each and whether the author provided for its absence. It follows names, not values; a name that it cannot follow is
a local one and of no interest."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from jinja2 import nodes

from engine.core.sandbox import path_of
from engine.core.words import word_list

_OWN_NAMES = frozenset(
    word_list("range dict cycler joiner namespace loop caller varargs kwargs self super true false none")
)
_METHODS = frozenset(
    word_list("get items keys values upper lower title strip split startswith endswith count index strftime")
)
_ABSENCE_TESTS = frozenset({"defined", "undefined", "none"})


@dataclass(frozen=True)
class Use:
    """One use of a variable. `guarded`: the template asked first whether it is there (`{% if prospect %}`), or this is the
    question itself. `defined`: it even allows for a name that nobody ever gives (`is defined`, `|default`)."""

    path: str
    file: str
    line: int
    column: int
    guarded: bool = False
    defined: bool = False


@dataclass(frozen=True)
class Parsed:
    """A template's file, its lines, its subject and its body as trees."""

    file: str
    lines: tuple[str, ...]
    body: nodes.Template
    subject: nodes.Template | None = None


@dataclass(frozen=True)
class _Macro:
    node: nodes.Macro
    scope: _Scope


@dataclass(frozen=True)
class _Module:
    names: Mapping[str, _Bound]


@dataclass(frozen=True)
class _Local:
    """A name that the template made itself."""


_Bound = str | _Macro | _Module | _Local  # a str is the path that the name stands for
_LOCAL = _Local()


@dataclass(frozen=True)
class _Scope:
    """What is known at one place of a template. `guards` are paths known to be there, `defined` those known to be given."""

    parsed: Parsed
    names: dict[str, _Bound] = field(default_factory=dict)
    guards: frozenset[str] = frozenset()
    defined: frozenset[str] = frozenset()

    def inner(self, **names: _Bound) -> _Scope:
        return replace(self, names={**self.names, **names})

    def knowing(self, known: _Known) -> _Scope:
        return replace(self, guards=self.guards | known.there, defined=self.defined | known.given)


@dataclass(frozen=True)
class _Known:
    """What a condition that held tells."""

    there: frozenset[str] = frozenset()
    given: frozenset[str] = frozenset()

    def __or__(self, other: _Known) -> _Known:
        return _Known(self.there | other.there, self.given | other.given)


_NOTHING = _Known()


def uses(parsed: Parsed, load: Callable[[str], Parsed | None]) -> list[Use]:
    """Every use in the template's subject and body, in the order in which they stand; `load` gives the templates that it
    includes, None for one that is missing or cannot be read."""
    walk = _Walk(load)
    if parsed.subject is not None:
        walk.body(parsed.subject.body, _Scope(parsed))
    walk.template(parsed, _Scope(parsed))
    return list(walk.found)


def expression_uses(expression: nodes.Expr) -> dict[str, bool]:
    """Every path that one expression uses, and whether each use allows for a name that nobody gives (`is defined`)."""
    parsed = Parsed("", (), nodes.Template([], lineno=1))
    walk = _Walk(lambda name: None)
    walk.condition(expression, _Scope(parsed))
    every = dict.fromkeys(use.path for use in walk.found)
    return {path: all(use.defined for use in walk.found if use.path == path) for path in every}


def references(tree: nodes.Template) -> list[tuple[str | None, int, bool]]:
    """The templates that this one names: (name, line, may be missing); None where the name is not a plain text."""
    found: list[tuple[str | None, int, bool]] = []
    for node in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        optional = isinstance(node, nodes.Include) and node.ignore_missing
        names: list[str | None] = [*_names(node.template)]  # type: ignore[attr-defined]
        found += [(name, node.lineno, optional) for name in (names or [None])]
    return found


def names(tree: nodes.Node) -> frozenset[str]:
    """Every name in a tree, whether it stands for a variable or for something of the template's own."""
    every = (tree, *tree.find_all(nodes.Name))  # which passes the tree itself over
    return frozenset(node.name for node in every if isinstance(node, nodes.Name))


def _names(template: nodes.Expr) -> list[str]:
    if isinstance(template, nodes.Const) and isinstance(template.value, str):
        return [template.value]
    if isinstance(template, nodes.List | nodes.Tuple):
        return [name for item in template.items for name in _names(item)]
    return []


class _Walk:
    """Goes through trees in the order in which they would run, and keeps what it finds."""

    def __init__(self, load: Callable[[str], Parsed | None]) -> None:
        self.load = load
        self.found: dict[Use, None] = {}
        self.blocks: Mapping[str, list[tuple[nodes.Block, _Scope]]] = {}
        self.open: list[object] = []  # templates and macros being walked: none is entered twice

    # --- statements

    def template(
        self, parsed: Parsed, scope: _Scope, blocks: Mapping[str, list[tuple[nodes.Block, _Scope]]] | None = None
    ) -> None:
        """A template's body; where it extends another, that one's body with these blocks."""
        if parsed.file in self.open:
            return
        scope = replace(scope, parsed=parsed)
        mine = {block.name: [(block, scope)] for block in parsed.body.find_all(nodes.Block)}
        every = {name: [*(blocks or {}).get(name, []), *mine.get(name, [])] for name in {**mine, **(blocks or {})}}
        parent = parsed.body.find(nodes.Extends)
        self.open.append(parsed.file)
        if parent is None:
            outer, self.blocks = self.blocks, every
            self.body(parsed.body.body, scope)
            self.blocks = outer
        else:
            self.body([node for node in parsed.body.body if not isinstance(node, nodes.Output | nodes.Block)], scope)
            for above in self.loaded(parent.template):
                self.template(above, scope, every)
        self.open.pop()

    def loaded(self, template: nodes.Expr) -> list[Parsed]:
        return [parsed for name in _names(template) if (parsed := self.load(name)) is not None]

    def body(self, statements: Iterable[nodes.Node], scope: _Scope) -> None:
        for statement in statements:
            self.statement(statement, scope)

    def statement(self, node: nodes.Node, scope: _Scope) -> None:
        match node:
            case nodes.If():
                self.choice(node, scope)
            case nodes.For():
                self.expression(node.iter, scope)
                self.loop(node, scope)
            case nodes.Assign():
                self.expression(node.node, scope)
                self.bind(node.target, node.node, scope)
            case nodes.AssignBlock():
                self.body(node.body, scope.inner())
                self.bind(node.target, None, scope)
            case nodes.With():
                self.within(node, scope)
            case nodes.Macro():
                scope.names[node.name] = _Macro(node, scope)
            case nodes.CallBlock():
                self.expression(node.call, scope)
                self.body(node.body, scope.inner(**{name.name: _LOCAL for name in node.args}))
            case nodes.Include():
                for parsed in self.loaded(node.template):
                    self.template(parsed, scope.inner())
            case nodes.Import():
                scope.names[node.target] = _Module(self.module(node.template, scope))
            case nodes.FromImport():
                self.imported(node, scope)
            case nodes.Block():
                self.block(node.name, 0)
            case nodes.Extends():
                pass
            case _:
                self.children(node, scope)

    def children(self, node: nodes.Node, scope: _Scope) -> None:
        for child in node.iter_child_nodes():
            if isinstance(child, nodes.Stmt):
                self.statement(child, scope)
            else:
                self.expression(child, scope)

    def choice(self, node: nodes.If, scope: _Scope) -> None:
        self.condition(node.test, scope)
        self.body(node.body, scope.knowing(_if_true(node.test, scope)))
        scope = scope.knowing(_if_false(node.test, scope))
        for other in node.elif_:
            self.condition(other.test, scope)
            self.body(other.body, scope.knowing(_if_true(other.test, scope)))
            scope = scope.knowing(_if_false(other.test, scope))
        self.body(node.else_, scope)

    def loop(self, node: nodes.For, scope: _Scope) -> None:
        inside = scope.inner()
        self.bind(node.target, None, inside)
        if node.test is not None:
            self.condition(node.test, inside)
            inside = inside.knowing(_if_true(node.test, inside))
        self.body(node.body, inside)
        self.body(node.else_, scope.inner())

    def within(self, node: nodes.With, scope: _Scope) -> None:
        inside = scope.inner()
        for target, value in zip(node.targets, node.values, strict=True):
            self.expression(value, scope)
            self.bind(target, value, inside)
        self.body(node.body, inside)

    def bind(self, target: nodes.Node, value: nodes.Node | None, scope: _Scope) -> None:
        for name in [target, *target.find_all(nodes.Name)]:
            if isinstance(name, nodes.Name):
                path = _path(value, scope) if value is not None and name is target else ""
                scope.names[name.name] = path or _LOCAL

    def module(self, template: nodes.Expr, scope: _Scope) -> Mapping[str, _Bound]:
        names: dict[str, _Bound] = {}
        for parsed in self.loaded(template):
            inside = _Scope(parsed)
            self.template(parsed, inside)
            names |= inside.names
        return names

    def imported(self, node: nodes.FromImport, scope: _Scope) -> None:
        names = self.module(node.template, scope)
        for name in node.names:
            given, own = (name, name) if isinstance(name, str) else name
            scope.names[own] = names.get(given, _LOCAL)

    def block(self, name: str, level: int) -> None:
        for block, scope in self.blocks.get(name, [])[level : level + 1]:
            self.body(block.body, scope)
            if any(path_of(call.node) == "super" for call in block.find_all(nodes.Call)):
                self.block(name, level + 1)

    # --- expressions

    def expression(self, node: nodes.Node, scope: _Scope) -> None:
        match node:
            case nodes.Name() | nodes.Getattr() | nodes.Getitem():
                self.path(node, scope)
            case nodes.Filter() if node.name in ("default", "d") and node.node is not None:
                self.path(node.node, scope, guarded=True, defined=True)
                self.arguments(node, scope)
            case nodes.Test() if node.name in _ABSENCE_TESTS:
                self.path(node.node, scope, guarded=True, defined=True)
            case nodes.CondExpr():
                self.condition(node.test, scope)
                self.expression(node.expr1, scope.knowing(_if_true(node.test, scope)))
                if node.expr2 is not None:
                    self.expression(node.expr2, scope.knowing(_if_false(node.test, scope)))
            case nodes.And() | nodes.Or() | nodes.Not() | nodes.Compare():
                self.condition(node, scope)
            case nodes.Call():
                self.call(node, scope)
            case _:
                self.children(node, scope)

    def condition(self, node: nodes.Node, scope: _Scope) -> None:
        """An expression of which only the truth matters: a variable that is there and empty does no harm."""
        match node:
            case nodes.And():
                self.condition(node.left, scope)
                self.condition(node.right, scope.knowing(_if_true(node.left, scope)))
            case nodes.Or():
                self.condition(node.left, scope)
                self.condition(node.right, scope.knowing(_if_false(node.left, scope)))
            case nodes.Not():
                self.condition(node.node, scope)
            case nodes.Compare() if all(operand.op in ("eq", "ne") for operand in node.ops):
                for side in (node.expr, *(operand.expr for operand in node.ops)):
                    self.condition(side, scope)
            case nodes.Compare():
                self.children(node, scope)
            case nodes.Name() | nodes.Getattr() | nodes.Getitem():
                self.path(node, scope, guarded=True)
            case _:
                self.expression(node, scope)

    def path(self, node: nodes.Node, scope: _Scope, guarded: bool = False, defined: bool = False) -> None:
        """A use. Asking whether `a.b` is there presumes that `a` is."""
        path = _path(node, scope)
        if not path:
            if not path_of(node):
                self.children(node, scope)
            return
        asked = defined or (guarded and "." not in path)
        self.add(path, node, scope, asked or _covers(scope.guards, path), defined or _covers(scope.defined, path))

    def add(self, path: str, node: nodes.Node, scope: _Scope, guarded: bool, defined: bool) -> None:
        column = _column(scope.parsed.lines, node.lineno, path_of(node) or path)
        self.found[Use(path, scope.parsed.file, node.lineno, column, guarded, defined)] = None

    def call(self, node: nodes.Call, scope: _Scope) -> None:
        target = _target(node.node, scope)
        if isinstance(target, _Macro):
            self.macro(target, node, scope)
            return
        if isinstance(node.node, nodes.Getattr) and node.node.attr in _METHODS:
            self.expression(node.node.node, scope)
        else:
            self.expression(node.node, scope)
        self.arguments(node, scope)

    def arguments(self, node: nodes.Call | nodes.Filter, scope: _Scope) -> None:
        for argument in (*node.args, *(named.value for named in node.kwargs), node.dyn_args, node.dyn_kwargs):
            if argument is not None:
                self.expression(argument, scope)

    def macro(self, macro: _Macro, call: nodes.Call, scope: _Scope) -> None:
        """The macro's body with what this call gives it: `{{ greet(client) }}` uses what `greet` asks of `client`."""
        given: dict[str, nodes.Expr] = dict(zip((name.name for name in macro.node.args), call.args, strict=False))
        given |= {named.key: named.value for named in call.kwargs}
        bound: dict[str, _Bound] = {name.name: _LOCAL for name in macro.node.args}
        for name, value in given.items():
            path = _path(value, scope)
            bound[name] = path or _LOCAL
            if not path:
                self.expression(value, scope)
        key = (macro.node, tuple(sorted((name, path) for name, path in bound.items() if isinstance(path, str))))
        if key in self.open:
            return
        self.open.append(key)
        inside = replace(macro.scope.inner(**bound), guards=scope.guards, defined=scope.defined)
        for default in macro.node.defaults:
            self.expression(default, inside)
        self.body(macro.node.body, inside)
        self.open.pop()


def _path(node: nodes.Node, scope: _Scope) -> str:
    """The path that an expression stands for, through the template's own names; empty for anything else."""
    written = path_of(node)
    root, _, rest = written.partition(".")
    if not root or root in _OWN_NAMES:
        return ""
    bound = scope.names.get(root, root)
    if not isinstance(bound, str):
        return ""
    return f"{bound}.{rest}" if rest else bound


def _target(node: nodes.Node, scope: _Scope) -> _Bound:
    if isinstance(node, nodes.Name):
        return scope.names.get(node.name, _LOCAL)
    if isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name):
        module = scope.names.get(node.node.name)
        if isinstance(module, _Module):
            return module.names.get(node.attr, _LOCAL)
    return _LOCAL


def _prefixes(path: str) -> frozenset[str]:
    parts = path.split(".")
    return frozenset(".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _covers(known: frozenset[str], path: str) -> bool:
    return bool(known & _prefixes(path))


def _there(node: nodes.Node, scope: _Scope) -> _Known:
    path = _path(node, scope)
    return _Known(there=_prefixes(path)) if path else _NOTHING


def _if_true(node: nodes.Node, scope: _Scope) -> _Known:
    """What is known where the condition held."""
    match node:
        case nodes.And():
            return _if_true(node.left, scope) | _if_true(node.right, scope)
        case nodes.Not():
            return _if_false(node.node, scope)
        case nodes.Test() if node.name == "defined":
            path = _path(node.node, scope)
            return _Known(given=_prefixes(path)) if path else _NOTHING
        case nodes.Compare() if node.ops[0].op == "ne" and _is_nothing(node.ops[0].expr):
            return _there(node.expr, scope)
        case nodes.Filter() if node.node is not None:
            return _there(node.node, scope)
        case _:
            return _there(node, scope)


def _if_false(node: nodes.Node, scope: _Scope) -> _Known:
    """What is known where the condition did not hold."""
    match node:
        case nodes.Or():
            return _if_false(node.left, scope) | _if_false(node.right, scope)
        case nodes.Not():
            return _if_true(node.node, scope)
        case nodes.Test() if node.name == "none":
            return _there(node.node, scope)
        case nodes.Test() if node.name == "undefined":
            path = _path(node.node, scope)
            return _Known(given=_prefixes(path)) if path else _NOTHING
        case nodes.Compare() if node.ops[0].op == "eq" and _is_nothing(node.ops[0].expr):
            return _there(node.expr, scope)
        case _:
            return _NOTHING


def _is_nothing(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Const) and node.value in (None, "")


def _column(lines: tuple[str, ...], line: int, path: str) -> int:
    text = lines[line - 1] if 0 < line <= len(lines) else ""
    for words in (path, path.split(".")[0]):
        found = re.search(rf"(?<![\w.]){re.escape(words)}(?!\w)", text)
        if found:
            return found.start() + 1
    return 1
