"""The stories that come with the program, by name: `raftyard scenario list`, `show NAME`, `run NAME`."""

from __future__ import annotations

from pathlib import Path

from .document import nearest
from .reading import read_scenario_file

__all__ = ["describe_stories", "find_scenario", "stories"]

_FOLDER = Path(__file__).with_name("stories")
_END = ".scenario.yaml"


def stories() -> dict[str, Path]:
    """The file of each story, by name, in alphabetical order."""
    return {file.name.removesuffix(_END): file for file in sorted(_FOLDER.glob(f"*{_END}"))}


def find_scenario(file: str) -> str:
    """A file as it is, or the file of the story of that name. Raises FileNotFoundError, which says what there is."""
    path = Path(file)
    if path.exists() and not path.is_dir():
        return file
    known = stories()
    if file in known:
        return str(known[file])
    raise FileNotFoundError(f"no file and no story {file!r}{nearest(file, known)}")


def describe_stories() -> list[tuple[str, str, str]]:
    """(name, title, what to watch) of each story."""
    read = ((name, read_scenario_file(file)) for name, file in stories().items())
    return [(name, scenario.title, scenario.about) for name, scenario in read]
