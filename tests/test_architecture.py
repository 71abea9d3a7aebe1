"""Who may import whom, and the few habits of the code that only hold when something checks them.

Every rule is a plain function from a module to its violations, so each is shown a violation of its own below.
"""

import ast
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import pytest

__all__ = ()

ROOT = Path(__file__).parents[1]
BASE = {"orjson", "prometheus_client", "pydantic", "pydantic_settings"}

# What a package may import besides the standard library and itself; the longest matching prefix decides.
MAY_IMPORT: dict[str, set[str]] = {
    "shared": BASE | {"redis", "hiredis"},
    "shared.queue": BASE | {"shared", "arq", "redis"},
    "services": set(),
    "services.edge": BASE
    | {"shared", "services.web", "fastapi", "httptools", "starlette", "uvicorn", "websockets", "uvloop"},
    "services.worker": BASE | {"shared", "arq", "aiohttp", "uvloop"},
    "services.web": set(),
    "services.client": {"aiohttp", "orjson", "tailrace"},
}
# They put everything together, therefore they may know everything, and nothing else may know them.
COMPOSITION_ROOTS = ("services.cli", "services.bench", "services.local", "services.console")
# A folder with more modules than this hides what it holds.
MOST_MODULES = 15

# What a room, or a module beside the rooms, may use of the others in its house: arrows run down, and what is at the
# bottom knows nobody. A part of a room is named with a dot, and the longest name that fits decides.
ROOMS: dict[str, dict[str, set[str]]] = {
    "services.edge": {
        "main": {"app", "server", "access.bind"},
        "server": {
            "access.cross_origin",
            "api.fast_path",
            "carriers.room",
            "carriers.uvicorn_protocol",
            "carriers.websocket_protocol",
        },
        "app": {"api", "delivery", "pages", "streams", "threads", "wires.registry"},
        "api": {"streams", "threads", "access", "delivery", "wires", "carriers"},
        "pages": {"access"},
        "streams": {"statistics", "dispatching", "workforce", "access", "delivery", "wires"},
        "threads": {"access"},
        "dispatching": set(),
        "workforce": set(),
        "statistics": set(),
        "access": set(),
        "delivery": {"wires", "carriers.carrier", "carriers.uvicorn_protocol", "access.byte_limiter"},
        "wires": set(),
        "carriers": set(),
    },
    "services.worker": {
        "main": {"puller", "presence", "attempts", "writing", "upkeep", "providers"},
        "puller": {"queue_worker", "room", "attempts", "upkeep.proof"},
        "queue_worker": {"room"},
        "room": set(),
        "presence": set(),
        "attempts": {"writing", "providers"},
        "writing": set(),
        "upkeep": {"writing"},
        "providers": set(),
    },
    "shared": {
        "telemetry": {"log", "store", "settings", "errors"},
        "queue": {"log", "store", "errors", "backoff"},
        "store": {"log", "settings", "errors", "backoff"},
        # The names of policies and the forms of addresses, which are the store's.
        "settings": {"store.calls", "store.redis.address", "errors"},
        "log": {"errors"},
        "errors": set(),
        "backoff": set(),
    },
}

VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
# A task belongs to a group, and a group is called one. A task without a group is lost when it fails.
TASK_GROUP_NAME = re.compile(r"(^|_)(group|tasks)$")
# A docstring begins with a verb ("Return …") or a noun ("The log of one stream."), never with a relative clause.
RELATIVE_CLAUSE = re.compile(
    r"(what(ever)?|which(ever)?|who(ever)?|whose|whom|when(ever)?|where(ver)?|how|why|whether|that)\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Module:
    name: str
    tree: ast.Module
    is_package: bool = False

    @property
    def is_public(self) -> bool:
        return not any(part.startswith("_") for part in self.name.split("."))


Rule = Callable[[Module], Iterator[str]]


def parse(path: Path) -> Module:
    parts = path.relative_to(ROOT).with_suffix("").parts
    is_package = parts[-1] == "__init__"
    name = ".".join(parts[:-1] if is_package else parts)
    return Module(name, ast.parse(path.read_text(encoding="utf-8"), str(path)), is_package)


def modules() -> list[Module]:
    return [parse(path) for top in ("shared", "services") for path in sorted((ROOT / top).rglob("*.py"))]


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def absolute_source(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    parents = parts[: len(parts) - node.level + module.is_package]
    return ".".join([*parents, *filter(None, [node.module])])


def imported(module: Module) -> Iterator[tuple[int, str]]:
    """Every imported name with its line; `from services import edge` counts as `services.edge`."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            source = absolute_source(module, node)
            yield from ((node.lineno, f"{source}.{alias.name}") for alias in node.names)


def package_of(module: Module) -> str:
    return max((package for package in MAY_IMPORT if is_within(module.name, package)), key=len)


def forbidden_imports(module: Module) -> Iterator[str]:
    if any(is_within(module.name, root) for root in COMPOSITION_ROOTS):
        return
    package = package_of(module)
    allowed = {package, *MAY_IMPORT[package]}
    for line, name in imported(module):
        if name.partition(".")[0] in sys.stdlib_module_names:
            continue
        if not any(is_within(name, other) for other in allowed):
            yield f"{module.name}:{line} imports {name}, which {package} may not"


def assigned_names(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
    if isinstance(statement, ast.Import | ast.ImportFrom):
        yield from ((alias.asname or alias.name).partition(".")[0] for alias in statement.names)
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        yield from (node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and is_stored(node))
    if isinstance(statement, ast.If | ast.Try | ast.With):
        for inner in ast.iter_child_nodes(statement):
            yield from assigned_names(inner) if isinstance(inner, ast.stmt) else ()


def is_stored(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Store)


def exported(tree: ast.Module) -> ast.expr | None:
    """The value of `__all__`, if the module has one."""
    for statement in tree.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and "__all__" in assigned_names(statement):
            return statement.value
    return None


def wrong_exports(module: Module) -> Iterator[str]:
    if not module.is_public:
        return
    value = exported(module.tree)
    if not isinstance(value, ast.Tuple):
        yield f"{module.name} has no __all__ tuple"
        return
    known = {name for statement in module.tree.body for name in assigned_names(statement)}
    for element in value.elts:
        if not isinstance(element, ast.Constant) or element.value not in known:
            yield f"{module.name}: __all__ names {ast.unparse(element)}, which it does not define"


def vague_names(module: Module) -> Iterator[str]:
    for part in VAGUE_NAMES.intersection(module.name.split(".")):
        yield f"{module.name}: {part!r} says nothing; name the noun"


def naked_tasks(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and starts_naked_task(node.func):
            yield f"{module.name}:{node.lineno} starts a task outside a task group: {ast.unparse(node)}"


def starts_naked_task(function: ast.expr) -> bool:
    owner, _, name = ast.unparse(function).rpartition(".")
    if name == "ensure_future":
        return True
    return name == "create_task" and not TASK_GROUP_NAME.search(owner)


def class_names_in_words(module: Module) -> Iterator[str]:
    """Names of classes where things are counted or logged: words for operators come from a table."""
    nodes = [node for node in ast.walk(module.tree) if isinstance(node, ast.Attribute)]
    if not any(node.attr in {"labels", "getLogger"} for node in nodes):
        return
    for node in nodes:
        if node.attr in {"__name__", "__qualname__"}:
            yield f"{module.name}:{node.lineno} reads {node.attr}"


def relative_clauses(module: Module) -> Iterator[str]:
    """Docstrings that begin with a relative clause, which names neither a thing nor an action."""
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        text = ast.get_docstring(node) or ""
        if RELATIVE_CLAUSE.match(text):
            yield f"{module.name}:{node.body[0].lineno} begins with {text.split()[0]!r}"


def backward_imports(module: Module) -> Iterator[str]:
    """Imports from a room to another one that it must not know."""
    for house, rooms in ROOMS.items():
        own = room_of(module.name, house)
        if own is None or (module.is_package and own not in rooms):
            continue
        for line, name in imported(module):
            other = room_of(name, house)
            if other is None or other == own:
                continue
            if not any(is_within(name, f"{house}.{allowed}") for allowed in rooms.get(own, set())):
                yield f"{module.name}:{line} imports {name}, which is not below {own}"


def room_of(name: str, house: str) -> str | None:
    if not name.startswith(f"{house}."):
        return None
    return name.removeprefix(f"{house}.").partition(".")[0]


RULES: tuple[Rule, ...] = (
    forbidden_imports,
    wrong_exports,
    vague_names,
    naked_tasks,
    class_names_in_words,
    relative_clauses,
    backward_imports,
)


def import_graph(modules: Sequence[Module]) -> dict[str, set[str]]:
    """Which of these modules each of them imports: also for types only, and also late, inside a function."""
    names = {module.name for module in modules}
    graph: dict[str, set[str]] = {}
    for module in modules:
        found = {module_named(name, names) for _, name in imported(module)}
        graph[module.name] = {other for other in found if other is not None and other != module.name}
    return graph


def module_named(name: str, modules: Set[str]) -> str | None:
    """The module that an imported name is, or is in."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or None


def circles(graph: Mapping[str, Set[str]]) -> list[str]:
    """For each module that can be reached from itself the shortest way round, every circle once."""
    found: dict[frozenset[str], str] = {}
    for start in sorted(graph):
        way = way_round(graph, start)
        if way:
            found.setdefault(frozenset(way), " -> ".join(way))
    return list(found.values())


def way_round(graph: Mapping[str, Set[str]], start: str) -> list[str]:
    ways, seen = [[start]], {start}
    for way in ways:  # grows while it is walked: nearest first
        for following in sorted(graph[way[-1]]):
            if following == start:
                return [*way, start]
            if following not in seen:
                seen.add(following)
                ways.append([*way, following])
    return []


def test_no_import_goes_round_in_a_circle() -> None:
    assert circles(import_graph(modules())) == []


@pytest.mark.parametrize(
    "back",
    [
        "from shared.hub import Hub",
        "import shared.hub",
        "from . import hub",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from shared.hub import Hub",
        "def late() -> None:\n    from shared.hub import Hub",
    ],
)
def test_a_circle_of_imports_is_seen(back: str) -> None:
    parsed = [
        Module("shared.hub", ast.parse("from shared.feed import Feed\nimport shared.errors")),
        Module("shared.feed", ast.parse("from shared.reader import Reader")),
        Module("shared.reader", ast.parse(back)),
        Module("shared.errors", ast.parse("")),
    ]
    assert circles(import_graph(parsed)) == ["shared.feed -> shared.reader -> shared.hub -> shared.feed"]


def test_a_tree_of_imports_is_no_circle() -> None:
    parsed = [
        Module("shared.hub", ast.parse("from shared.feed import Feed\nfrom shared.errors import Gone")),
        Module("shared.feed", ast.parse("from shared.errors import Gone")),
        Module("shared.errors", ast.parse("import asyncio")),
    ]
    assert circles(import_graph(parsed)) == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("services.edge.streams", "from services.edge.api.schemas import CreateStream"),
        ("services.edge.access.caller", "from services.edge.api.answers.problems import problem"),
        ("services.edge.delivery.batch", "from services.edge.carriers.chunked import chunk"),
        ("services.edge.delivery.hub", "def late():\n    from services.edge import streams"),
        ("services.edge.wires.sse", "from ..delivery.batch import Batch"),
        ("services.edge.carriers.asgi", "from services.edge.wires.wire import Wire"),
        ("services.edge.attic", "from services.edge.wires.wire import Wire"),
        ("services.worker.writing.writer", "from services.worker.attempts.job import Job"),
        ("shared.log.events", "from shared.store.state import Meta"),
        ("shared.settings.settings", "from shared.store.redis.client import open_client"),
    ],
)
def test_an_import_against_the_arrows_is_seen(name: str, source: str) -> None:
    assert len(list(backward_imports(Module(name, ast.parse(source))))) == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("services.edge.api.routes", "from services.edge.streams import Streams\nfrom .body import read_json"),
        ("services.edge.delivery.reader", "from services.edge.carriers.carrier import Carrier\nimport shared.errors"),
        ("services.edge.main", "from services.edge.app import create_app"),
        ("services.cli.main", "import services.edge.delivery.reader"),
    ],
)
def test_an_import_along_the_arrows_passes(name: str, source: str) -> None:
    assert not list(backward_imports(Module(name, ast.parse(source))))


def crowded_folders(counts: Counter[str]) -> list[str]:
    return [f"{folder} holds {number} modules" for folder, number in counts.items() if number > MOST_MODULES]


def test_no_folder_is_crowded() -> None:
    assert crowded_folders(Counter(each.name.rpartition(".")[0] for each in modules() if not each.is_package)) == []


def test_a_crowded_folder_is_seen() -> None:
    assert crowded_folders(Counter({"shared.log": MOST_MODULES + 1, "shared.store": MOST_MODULES})) == [
        f"shared.log holds {MOST_MODULES + 1} modules"
    ]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_code_keeps(rule: Rule) -> None:
    assert [violation for module in modules() for violation in rule(module)] == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("shared.store.store", "import aiohttp"),
        ("shared.store", "import services.edge.app"),
        ("shared.store", "def late():\n    from services import worker"),
        ("services.edge.app", "from services.worker.pump import Pump"),
        ("services.edge.app", "from ..worker import pump"),
        ("services.edge.app", "import services.cli.main"),
        ("services.worker.pump", "from services.edge import tail"),
        ("services.worker.pump", "import redis"),
        ("services.web.files", "import shared.keys"),
        ("services.new.thing", "import orjson"),
    ],
)
def test_a_forbidden_import_is_seen(name: str, source: str) -> None:
    assert list(forbidden_imports(Module(name, ast.parse(source))))


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("shared.store", "import asyncio, redis.asyncio\nfrom shared.keys import Keys\nfrom .keys import Keys"),
        ("services.edge.app", "from fastapi import FastAPI\nimport shared.store\nfrom .tail import Tail"),
        ("services.cli.main", "import typer, aiohttp, services.edge.app, services.worker.pump"),
    ],
)
def test_an_allowed_import_passes(name: str, source: str) -> None:
    assert not list(forbidden_imports(Module(name, ast.parse(source))))


@pytest.mark.parametrize(
    "source",
    [
        "",
        "__all__ = ['name']\nname = 1",
        "__all__ = ('gone',)",
        "__all__ = (name,)\nname = 'name'",
        "def outer():\n    name = 1\n__all__ = ('name',)",
    ],
)
def test_a_wrong_export_is_seen(source: str) -> None:
    assert list(wrong_exports(Module("shared.events", ast.parse(source))))


@pytest.mark.parametrize(
    "source",
    [
        "__all__: tuple[str, ...] = ()",
        "from enum import Enum as E\n__all__ = ('E', 'f', 'a', 'b')\ndef f(): ...\na, b = 1, 2",
        "__all__ = ('fast',)\ntry:\n    import fast\nexcept ImportError:\n    fast = None",
    ],
)
def test_a_right_export_passes(source: str) -> None:
    assert not list(wrong_exports(Module("shared.events", ast.parse(source))))


def test_a_private_module_needs_no_exports() -> None:
    assert not list(wrong_exports(Module("services.cli.__main__", ast.parse(""))))


@pytest.mark.parametrize(("name", "violations"), [("services.edge.utils", 1), ("shared.utility", 0)])
def test_a_vague_name_is_seen(name: str, violations: int) -> None:
    assert len(list(vague_names(Module(name, ast.parse(""))))) == violations


@pytest.mark.parametrize(
    ("source", "violations"),
    [
        ("asyncio.create_task(work())", 1),
        ("create_task(work())", 1),
        ("asyncio.get_running_loop().create_task(work())", 1),
        ("asyncio.ensure_future(work())", 1),
        ("group.create_task(work())", 0),
        ("self._tasks.create_task(work())", 0),
    ],
)
def test_a_naked_task_is_seen(source: str, violations: int) -> None:
    assert len(list(naked_tasks(Module("shared.store", ast.parse(source))))) == violations


@pytest.mark.parametrize(
    ("source", "violations"),
    [
        ("counter.labels(answer=type(reply).__name__.lower()).inc()", 1),
        ("logger = logging.getLogger(__name__)\nlogger.info('%s', kind.__qualname__)", 1),
        ("logger = logging.getLogger(__name__)", 0),
        ("new = type(base.__name__, (base,), {})", 0),
    ],
)
def test_a_class_name_in_words_is_seen(source: str, violations: int) -> None:
    assert len(list(class_names_in_words(Module("shared.store", ast.parse(source))))) == violations


@pytest.mark.parametrize(
    ("source", "violations"),
    [
        ('"""What a reader gets."""', 1),
        ('class Feed:\n    """Whoever reads a stream."""', 1),
        ('class Feed:\n    @property\n    def age(self):\n        """How old it is."""', 1),
        ('async def read():\n    """\n    whether there is more.\n    """', 1),
        ('"""Where it is."""\nclass Feed:\n    """That which feeds."""', 2),
        ('"""The log of one stream, which readers share."""', 0),
        ('def read():\n    """Return what is there."""', 0),
        ('"""Whole messages, and however many there are."""', 0),
        ("def what():\n    return 'What?'", 0),
    ],
)
def test_a_relative_clause_is_seen(source: str, violations: int) -> None:
    assert len(list(relative_clauses(Module("shared.store", ast.parse(source))))) == violations
