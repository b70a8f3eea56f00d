"""The documentation is true where a machine can tell: its Python runs, its links and files exist."""

import re
from pathlib import Path

import pytest

from raftyard.api import ports
from raftyard.api.app import node_routes, orchestrator_routes

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        ROOT / "actors/README.md",
        ROOT / "benchmarks/README.md",
    ]
)
BLOCKS = [
    (page, block)
    for page in PAGES
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
]
# A path in running text: `actors/raft/core.py`, `tests/`; not `/stats`, not `*.py`. NAME stands for any name.
PATHS = re.compile(r"`((?:actors|api|cli|tests|docs|examples|benchmarks|\.ci)/[\w./-]*)`")


@pytest.mark.parametrize(("page", "block"), BLOCKS, ids=[f"{page.name}" for page, _ in BLOCKS])
def test_python_in_the_documentation_runs(page: Path, block: str) -> None:
    # A relative import shows a file of a package: it is compiled, not run.
    code = compile(block, str(page), "exec")
    if not re.search(r"^from \.", block, re.MULTILINE):
        exec(code, {"__name__": "documentation"})


def test_every_path_that_a_page_names_exists() -> None:
    named = [(page, path) for page in PAGES for path in PATHS.findall(page.read_text())]
    missing = [(page, path) for page, path in named if not (ROOT / path).exists() and "NAME" not in path]
    assert not [f"{page.relative_to(ROOT)}: {path}" for page, path in missing]


def test_the_map_of_the_actors_names_every_file_and_folder_and_no_other() -> None:
    named = set(re.findall(r"`(\w+(?:\.py|/))`", (ROOT / "actors/README.md").read_text()))
    there = {f"{init.parent.name}/" for init in ROOT.glob("actors/*/__init__.py")}
    there |= {file.name for file in ROOT.glob("actors/[!_]*.py")}
    assert named == there


def test_every_relative_link_leads_somewhere() -> None:
    links = [
        (page, link)
        for page in PAGES
        for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text())
    ]
    assert not [
        f"{page.relative_to(ROOT)}: {link}" for page, link in links if not (page.parent / link).exists()
    ]


def test_the_readme_s_test_command_is_the_one_that_ci_runs() -> None:
    command = re.search(r'^test_command="(.*)"$', (ROOT / ".ci/run").read_text(), re.MULTILINE)
    assert command
    for page in ("CONTRIBUTING.md", "README.md"):
        assert command[1] in (ROOT / page).read_text()


def test_the_rest_page_names_every_route_and_no_other() -> None:
    page = (ROOT / "docs/rest.md").read_text()
    routes = {*orchestrator_routes(None), *node_routes(None)}
    assert set(re.findall(r"(?<=[ `])(/[\w{}/]*)(?=[`?])", page)) == routes


def test_the_rest_page_names_every_status_of_an_error() -> None:
    rows = re.findall(r"^\| ([45\d, ]+) \|", (ROOT / "docs/rest.md").read_text(), re.MULTILINE)
    named = {int(status) for row in rows for status in row.split(", ")}
    kinds = [
        kind for kind in vars(ports).values() if isinstance(kind, type) and issubclass(kind, ports.Problem)
    ]
    assert named == {kind.status for kind in kinds if kind is not ports.Problem}
