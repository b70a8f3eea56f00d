"""The house rule: who may import whom (the map is actors/README.md). Each rule is shown to catch a breach."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PURE = ("raft", "state", "scheduling")
PLAIN = ("errors", "messages", "units")  # files of actors/ that every room may use: they are no actors
# What the folders of actors/ may use of each other, beside PLAIN. Scenarios and the actors: all of it.
ROOMS = {"raft": (), "state": (), "scheduling": ("state",), "system": ()}
ROOMS |= {"storage": PURE, "runtimes": PURE, "transport": PURE, "control": (*PURE, "system")}
ROOMS |= {"frontdoor": (*PURE, "system", "control", "storage")}
CHANCE = tuple("time datetime random numpy.random secrets uuid threading asyncio multiprocessing".split())
WORLD = (*CHANCE, *"os sys io socket concurrent subprocess signal pathlib shutil sqlite3 logging".split())
OWNERS = {"pykka": "actors/system/", "falcon": "api/", "waitress": "api/"}
BAD = {
    "actors/raft/core.py": ("import time", "def f():\n  import os.path", "from .. import state, node"),
    "actors/state/a.py": ("from random import Random", "np.random.rand()", "from .. import scheduling"),
    "actors/scheduling/spread.py": ("from numpy import random", "from raftyard.actors.state import machine"),
    "actors/runtimes/nested.py": ("from ..cluster import Cluster",),
    "actors/system/live.py": ("from ..raft import core",),
    "actors/control/loop.py": ("import time", "from ..node import Node"),
    "actors/frontdoor/cables.py": ("import random", "from ..link import Link"),
    "actors/node.py": ("import threading", "import pykka", "from ..api import ports", "import falcon"),
    "api/app.py": ("from ..actors import errors", "from ..cli import main"),
    "cli/serve.py": ("import waitress", "import raftyard.cli.wiring", "import api"),
    "tests/test_x.py": ("from actors.raft import core", "import api.app"),
}
GOOD = {
    "actors/scheduling/plan.py": ("from ..state.machine import Cluster", "from ..errors import NoLeader"),
    "actors/storage/sqlite.py": ("import sqlite3", "from ..raft.events import Persist"),
    "actors/node.py": ("from .raft import core", "from . import system"),
    "actors/system/live.py": ("import pykka, threading, time",),
    "actors/control/loop.py": ("from ..system import Context", "from ..scheduling.reconcile import plan_call"),
    "actors/frontdoor/home.py": ("from ..storage.base import Storage", "from ..control import VOTERS"),
    "actors/scenarios/runner.py": ("from ..cluster import Cluster",),
    "cli/wiring.py": ("from ..actors import system", "from raftyard.api.app import create_app"),
    "tests/api/test_x.py": ("from raftyard.api import app\nimport falcon.testing",),
}


def imports(path: str, source: str) -> Iterator[tuple[str, bool]]:
    """Every module that a file names (`raftyard.actors.raft.core`), and whether it does so relatively."""
    package = ["raftyard", *Path(path).parts[:-1]]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *filter(None, [node.module])])
            yield from ((f"{start}.{alias.name}", node.level > 0) for alias in node.names)
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in {"np.random", "numpy.random"}:
            yield "numpy.random", False


def is_in(module: str, names: tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(name + ".") for name in names)


def breaches(path: str, source: str) -> list[str]:
    found = ((module, breach(path, module, relative)) for module, relative in imports(path, source))
    return [f"{path} imports {module}: {why}" for module, why in found if why]


def breach(path: str, module: str, relative: bool) -> str | None:
    top, *rest = Path(path).parts
    if top not in ("actors", "api", "cli"):
        return "write raftyard.…" if is_in(module, ("actors", "api", "cli")) else None
    if is_in(module, (f"raftyard.{top}", "actors", "api", "cli")) and not relative:
        return "imports inside a package are relative"
    owner = OWNERS.get(module.split(".")[0])
    if owner and not path.startswith(owner):
        return f"only {owner} does"
    if top == "api" and is_in(module, ("raftyard.actors", "raftyard.cli")):
        return "api states its needs in ports.py"
    return breach_in_actors(rest, module) if top == "actors" else None


def breach_in_actors(rest: list[str], module: str) -> str | None:
    if is_in(module, ("raftyard.api", "raftyard.cli")):
        return "the actors know no way in"
    room = rest[0] if len(rest) > 1 else ""
    if is_in(module, WORLD if room in PURE else CHANCE if room in ("", "control", "frontdoor") else ()):
        return "it is handed time, chance and the world; an actor has self.context"
    allowed = tuple(f"raftyard.actors.{name}" for name in (room, *ROOMS.get(room, ()), *PLAIN))
    foreign = room in ROOMS and is_in(module, ("raftyard",)) and not is_in(module, allowed)
    return f"this room may use only {', '.join(allowed)}" if foreign else None


def test_every_file_imports_only_what_its_room_may() -> None:
    folders = ("actors", "api", "cli", "tests", "examples", "benchmarks", "docs")
    files = [ROOT / "run.py", *(file for folder in folders for file in sorted((ROOT / folder).rglob("*.py")))]
    texts = {str(file.relative_to(ROOT)): file.read_text(encoding="utf-8") for file in files}
    assert not [text for path, source in texts.items() for text in breaches(path, source)]


def test_every_rule_catches_its_breach_and_lets_the_rest_pass() -> None:
    for path, sources in BAD.items():
        assert not [f"{path} may {source}" for source in sources if not breaches(path, source)]
    for path, sources in GOOD.items():
        assert not [text for source in sources for text in breaches(path, source)]
