"""setup.cfg lists every folder with code: one that it misses works in a checkout and is gone once installed."""

import configparser
from pathlib import Path

ROOT = Path(__file__).parents[1]


def listed() -> list[str]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config["options"]["packages"].split()


def folders() -> list[str]:
    files = (file for top in ("actors", "api", "cli") for file in (ROOT / top).rglob("*.py"))
    return sorted({".".join(("raftyard", *file.relative_to(ROOT).parent.parts)) for file in files})


def test_setup_cfg_lists_every_folder_with_code_once_and_sorted() -> None:
    assert listed() == folders()


def test_every_package_says_what_it_is_for() -> None:
    for name in folders():
        init = ROOT.joinpath(*name.split(".")[1:], "__init__.py")
        assert init.is_file(), f"{init.relative_to(ROOT)} is missing: without it the folder is no package"


def test_every_top_package_ships_its_type_marker() -> None:
    assert all((ROOT / top / "py.typed").is_file() for top in ("actors", "api", "cli"))
