"""Raftyard's actors: clusters, nodes and links, and the system that runs them, to embed in your own program.

The map is README.md in this folder. Names are loaded when first used, so that a command line or a pytest plugin that
imports this package does not wait for numpy and pykka:

    from raftyard.actors import Virtual

Type checkers read the imports below; `_HOME` is the same list at run time (tests/test_public_names.py compares them).
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    from .errors import Conflict as Conflict
    from .errors import InvalidRequest as InvalidRequest
    from .errors import NoLeader as NoLeader
    from .errors import PortInUse as PortInUse
    from .errors import QueueFull as QueueFull
    from .errors import RaftyardError as RaftyardError
    from .errors import TimedOut as TimedOut
    from .errors import Unavailable as Unavailable
    from .errors import UnknownCall as UnknownCall
    from .errors import UnknownCluster as UnknownCluster
    from .errors import UnknownNode as UnknownNode

_HOME = {
    "Conflict": "errors",
    "InvalidRequest": "errors",
    "NoLeader": "errors",
    "PortInUse": "errors",
    "QueueFull": "errors",
    "RaftyardError": "errors",
    "TimedOut": "errors",
    "Unavailable": "errors",
    "UnknownCall": "errors",
    "UnknownCluster": "errors",
    "UnknownNode": "errors",
}
__all__ = list(_HOME)

if not typing.TYPE_CHECKING:  # else a type checker would believe every name, misspelt ones too

    def __getattr__(name):
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
        globals()[name] = value
        return value

    def __dir__():
        return sorted(globals() | _HOME)
