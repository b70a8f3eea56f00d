"""What is agreed on for a cluster as a whole, beside its nodes and services."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

import msgspec

from .calls import InvalidCall

PRIORITY_GAP = 10
"""By so much a victim's priority has to be lower."""
_UNKNOWN = re.compile(r"unknown field `(.*)`")


class Settings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """preemption: whether a service that finds no room may take that of one whose priority is lower by ten or more."""

    preemption: bool = False


class SettingsPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be changed; what is left out stays."""

    preemption: bool | None = None


def read_settings(body: object) -> SettingsPatch:
    """The change that a decoded JSON body asks for. Raises InvalidCall."""
    if not isinstance(body, Mapping):
        raise InvalidCall("$", "expected an object", 'send for example {"preemption": true}')
    try:
        return msgspec.convert(dict(body), SettingsPatch)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `")
    unknown = _UNKNOWN.search(message)
    if unknown is None:
        raise InvalidCall(path.removesuffix("`") or "$", message, 'send for example {"preemption": true}')
    field, fields = unknown[1][:100], SettingsPatch.__struct_fields__
    near = difflib.get_close_matches(field, fields, n=1)
    hint = f"did you mean {near[0]}?" if near else f"the settings are {', '.join(fields)}"
    raise InvalidCall(f"$.{field}", f"unknown setting {field}", hint)
