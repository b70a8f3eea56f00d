"""The settings of a running Raftyard: read from a .env file and the environment, checked once, named when wrong.

    settings = load()                    # .env of the working directory, then os.environ, which beats it
    for warning in settings.warnings:    # names in .env that look like ours, misspelt
        ...

One table, `_SETTINGS`, holds every name with its field and its check; `.env.example` shows them with their defaults.
"""

import difflib
import ipaddress
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import dotenv
import msgspec

__all__ = ["SettingError", "Settings", "load"]

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_MAX_PORT = 65_535
# A cluster above 99 nodes opens no ports (its nodes answer under /clusters/ID/nodes/NAME).
_MAX_NODES_WITH_PORTS = 99


class SettingError(ValueError):
    """A setting has a value that cannot be used. The text names the setting, what was expected, and where to set it."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What `raftyard serve` starts with. The defaults are those of a machine of one's own."""

    port: int = 8000
    """The orchestrator's port; node i of cluster 0 listens on port + 1 + i."""
    default_host: str = "127.0.0.1"
    """The IPv4 address to listen on; any other than loopback needs a token."""
    nodes: int = 5
    """How many nodes cluster 0 starts with."""
    capacity: int = 100
    """Slots of each of these nodes."""
    token: str | None = None
    """The bearer token that every request must carry, or None: no token is asked for."""
    threads: int = 8
    """Threads that answer HTTP requests."""
    data_dir: Path | None = Path("data")
    """The folder that keeps everything; None: in memory only."""
    log_level: str = "INFO"
    """A name of the standard library's logging levels."""
    warnings: tuple[str, ...] = ()
    """What to tell the user: names in .env that are nearly a setting's."""


def load(env_file: Path = Path(".env"), environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of `env_file` (it may be missing), each replaced by `environ` (default: os.environ).

    An empty value counts as not set. Raises SettingError, which names the first setting that cannot be used.
    """
    from_file = _read(env_file)
    given = from_file | dict(os.environ if environ is None else environ)
    fields = {
        field: _checked(name, given[name], check)
        for name, (field, check) in _SETTINGS.items()
        if given.get(name, "").strip()
    }
    settings = msgspec.convert(fields | {"warnings": _misspelt(from_file, env_file)}, Settings)
    _check_node_ports(settings)
    return settings


def _whole_number(low: int, high: int) -> Callable[[str], int]:
    def check(text: str) -> int:
        # int() would also take "8_000" and digits of other scripts, which no user of a .env file means.
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise ValueError(f"expected a whole number from {low} to {high}")
        return int(text)

    return check


def _ipv4_address(text: str) -> str:
    try:
        return str(ipaddress.IPv4Address("127.0.0.1" if text.lower() == "localhost" else text))
    except ValueError:
        raise ValueError(
            "expected an IPv4 address of this machine, such as 127.0.0.1, or localhost"
        ) from None


def _header_text(text: str) -> str:
    if not (text.isascii() and text.isprintable() and " " not in text):
        raise ValueError(
            "expected letters, digits and signs that fit into an HTTP header: no spaces, ASCII only"
        )
    return text


def _log_level(text: str) -> str:
    if text.upper() not in _LEVELS:
        raise ValueError(f"expected one of {', '.join(_LEVELS)}")
    return text.upper()


_SETTINGS: dict[str, tuple[str, Callable[[str], int | str | Path]]] = {
    "PORT": ("port", _whole_number(1, _MAX_PORT)),
    "DEFAULT_HOST": ("default_host", _ipv4_address),
    "NODES": ("nodes", _whole_number(1, 5_000)),
    "CAPACITY": ("capacity", _whole_number(1, 1_000_000_000)),
    "TOKEN": ("token", _header_text),
    "THREADS": ("threads", _whole_number(1, 256)),
    "DATA_DIR": ("data_dir", Path),
    "LOG_LEVEL": ("log_level", _log_level),
}


def _checked(name: str, value: str, check: Callable[[str], int | str | Path]) -> int | str | Path:
    try:
        return check(value.strip())
    except ValueError as expected:
        # A token is a secret: it must not reach a terminal or a log, wrong or not.
        shown = "..." if name == "TOKEN" else value
        raise SettingError(f"{name}={shown}: {expected}; set {name} in .env or the environment") from None


def _check_node_ports(settings: Settings) -> None:
    """Nodes listen on the ports above the orchestrator's, and these must exist."""
    last = settings.port + settings.nodes
    if settings.nodes <= _MAX_NODES_WITH_PORTS and last > _MAX_PORT:
        raise SettingError(
            f"PORT={settings.port}: the ports of {settings.nodes} nodes would reach {last}, beyond {_MAX_PORT}; "
            f"set PORT to {_MAX_PORT - settings.nodes} or less in .env or the environment"
        )


def _read(env_file: Path) -> dict[str, str]:
    if not env_file.is_file():
        return {}
    try:
        # Not interpolated: a token may hold a "$", and means it.
        values = dotenv.dotenv_values(env_file, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(
            f"{env_file}: cannot be read ({error}); make it a readable UTF-8 text file"
        ) from None
    return {name: value or "" for name, value in values.items()}


def _misspelt(from_file: Mapping[str, str], env_file: Path) -> tuple[str, ...]:
    """A warning for each name in the file that is nearly a setting's. Others pass: a .env serves other programs too."""
    nearest = {
        name: difflib.get_close_matches(name.upper(), _SETTINGS, n=1, cutoff=0.75)
        for name in from_file
        if name not in _SETTINGS
    }
    return tuple(
        f"{env_file}: {name} is not a setting and is ignored; did you mean {near[0]}?"
        for name, near in nearest.items()
        if near
    )
