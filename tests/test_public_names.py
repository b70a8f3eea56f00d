"""Each package's `__all__` is exactly its public names, and importing a package costs only what it needs."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from test_packages import listed

import raftyard.actors

# numpy alone takes a tenth of a second; a pytest plugin or `raftyard --help` needs none of these.
HEAVY = ("numpy", "falcon", "waitress", "pykka")


def public_names(module: ModuleType) -> set[str]:
    """What the module offers by its source: what it defines, and what it takes from beside and below itself."""
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in (inner for top in tree.body for inner in (top.body if isinstance(top, ast.If) else [top])):
        match node:
            case ast.ImportFrom(level=level, names=aliases) if level:
                names |= {alias.asname or alias.name for alias in aliases}
            case (
                ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AnnAssign(target=ast.Name(id=name))
            ):
                names.add(name)
            case ast.Assign(targets=targets):
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("name", listed())
def test_all_is_exactly_the_public_names(name: str) -> None:
    module = importlib.import_module(name)
    names = list(getattr(module, "__all__", ()))
    assert len(names) == len(set(names)), "a name is listed twice"
    assert set(names) == public_names(module)
    assert all(getattr(module, listed_name) is not None for listed_name in names)


def loaded_by(statement: str) -> set[str]:
    """The heavy modules that a fresh interpreter has loaded after the statement."""
    code = f"{statement}\nimport sys\nprint(*(name for name in {HEAVY} if name in sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(ran.stdout.split())


@pytest.mark.parametrize("module", ["raftyard.actors", "raftyard.cli.settings"])
def test_a_light_module_loads_nothing_heavy(module: str) -> None:
    assert not loaded_by(f"import {module}")


def test_a_lazy_name_loads_what_it_needs_when_it_is_used() -> None:
    assert "pykka" in loaded_by("from raftyard.actors import Virtual")


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'raftyard.actors' has no attribute 'Virtuel'"):
        raftyard.actors.Virtuel  # noqa: B018 - looking is the act
