"""Reads a request's JSON body, and says exactly where it is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar, get_args

import msgspec
from falcon import Request

from .addresses import canonical_address
from .nearest import did_you_mean
from .ports import FieldError, Invalid, Malformed, TooLarge, UnsupportedMedia
from .query import DURATION
from .shapes import (
    LinkFaults,
    Matrix,
    NewCluster,
    NewNode,
    NewPeer,
    NodePatch,
    PlanBody,
    RebalanceOrder,
    RemoveNode,
    RollBack,
    Row,
    ServiceBody,
    ServiceCall,
    ServicePatch,
    SettingsBody,
    StackBody,
    TransferOrder,
)

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)

MAX_BYTES = 1 << 20
LONGEST_SHOWN = 40
JSON_HINT = "send JSON, with the header Content-Type: application/json"
BOUND = re.compile(r"Expected `(\w+)`( of length)? (<=|>=) (\S+)")
EXPECTED = re.compile(r"Expected `([\w |]+)`, got `(\w+)`")
KINDS = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
PATTERNS = {
    "id": ("this is no id", "use 1 to 63 letters, digits, - . and _, beginning with a letter or digit"),
    "host": ("this is no host name or IPv4 address", "use for example localhost, or leave it out"),
}
"""By the field: what does not match its pattern, and what does."""
LONG_DURATION = re.compile(r"\d+(?:\.\d+)?(?:ms|s|m|h)", re.ASCII)
WITHOUT_UNIT = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
UNKNOWN_FIELD = re.compile(r"unknown field `(.*)`")
# Beyond 2**53 a float no longer names one integer.
MAX_EXACT_FLOAT = 2.0**53
MAX_INT = 2**63 - 1
"""What the log can hold; nothing that is counted here comes near."""
LONG_NUMBER = re.compile(r"\d{19}", re.ASCII)


class Body(Generic[T]):
    """What a route takes: `type` describes it, `read` gets it from a request or raises what is wrong with it."""

    def __init__(self, type: Any, check: Callable[[dict[str, Any]], T]) -> None:
        self.type = type
        self._check = check

    def read(self, req: Request) -> T:
        """Raises UnsupportedMedia, TooLarge, Malformed, or Invalid with the path of what is wrong."""
        value = _json(req)
        if not isinstance(value, dict):
            message = f"expected an object, got {_kind(value)}"
            raise invalid("$", message, "send an object: {...}")
        return self._check(value)

    def read_if_any(self, req: Request, default: T) -> T:
        """The same, for a route where the body may be left out."""
        return self.read(req) if req.content_length else default


def invalid(path: str, message: str, hint: str = "") -> Invalid:
    """One thing that is wrong with a body, at `path`."""
    return Invalid(f"{message} at {path}", hint, errors=(FieldError(path=path, message=message),))


def at_key(path: str, key: str) -> str:
    """`$.nodes`, or `$["localhost:8002"]` where the key is no plain word."""
    return f"{path}.{key}" if key.isidentifier() else f'{path}["{key}"]'


def _json(req: Request) -> Any:
    media_type = (req.content_type or "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        if not media_type and not req.content_length:
            raise Malformed("the body is empty", JSON_HINT)
        raise UnsupportedMedia(f"the body is {media_type or 'of no stated type'}, not JSON", JSON_HINT)
    data = req.bounded_stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise TooLarge("the body has more than 1 MiB", "split the request")
    if not data.strip():
        raise Malformed("the body is empty", JSON_HINT)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"the body is not UTF-8: {error.reason}", "send JSON, in UTF-8") from None
    try:
        value = _tidied(msgspec.json.decode(text))
        if LONG_NUMBER.search(text):
            _check_integers(value, "$")
    except (msgspec.DecodeError, RecursionError) as error:
        raise Malformed(f"the body is not JSON: {error}", JSON_HINT) from None
    return value


def _check_integers(value: Any, path: str) -> None:
    match value:
        case dict():
            for key, item in value.items():
                _check_integers(item, at_key(path, key))
        case list():
            for i, item in enumerate(value):
                _check_integers(item, f"{path}[{i}]")
        case int() if abs(value) > MAX_INT:
            wrong = "large" if value > 0 else "small"
            raise invalid(path, f"the number is too {wrong}", f"send {-MAX_INT} to {MAX_INT}")


def _tidied(value: Any) -> Any:
    """25.0 is 25 (to JSON they are the same number), and a port may be text: {"port": "8001"}."""
    if isinstance(value, dict):
        return {key: _port(item) if key == "port" else _tidied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_tidied(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_EXACT_FLOAT:
        return int(value)
    return value


def _port(value: Any) -> Any:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 5:
        return int(value)
    return _tidied(value)


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return f"the boolean {'true' if value else 'false'}"
        case str():
            return "a string"
        case int() | float():
            return f"the number {value}"
        case list():
            return "an array"
        case _:
            return "an object"


def _struct_of(type: type[S]) -> Callable[[dict[str, Any]], S]:
    def check(value: dict[str, Any]) -> S:
        try:
            return msgspec.convert(value, type)
        except msgspec.ValidationError as error:
            message, _, path = str(error).partition(" - at `")
            raise _explained(message, path.removesuffix("`") or "$", type) from None

    return check


def _explained(message: str, path: str, type: Any) -> Invalid:
    unknown = UNKNOWN_FIELD.search(message)
    if unknown is None:
        return invalid(path, *_in_words(message, path))
    name = unknown[1]
    structs = tuple(_structs(type))
    fields = (
        field
        for struct in (structs[:1] if path == "$" else structs[1:])
        for field in struct.__struct_fields__
    )
    return invalid(at_key(path, name), f"unknown field {name}", did_you_mean(name, fields))


def _in_words(message: str, path: str) -> tuple[str, str]:
    """What is wrong and what is right, where msgspec says it in the language of programs."""
    if "matching regex" in message:
        return PATTERNS.get(path.rpartition(".")[2], (message, ""))
    bound = BOUND.fullmatch(message)
    if bound is not None:
        kind, length, sign, limit = bound.groups()
        is_most = sign == "<="
        what = {"str": "text", "array": "list", "object": "object"}.get(kind, "number")
        if what == "number":
            wrong = "large" if is_most else "small"
        else:
            wrong = "long" if is_most else "short"
        unit = " characters" if kind == "str" and length else ""
        right = f"{limit.removesuffix('.0')}{unit} {'at most' if is_most else 'at least'}"
        return f"the {what} is too {wrong}, it has to be {right}", f"send {right}"
    expected = EXPECTED.fullmatch(message)
    if expected is not None:
        right = " or ".join(KINDS.get(kind, kind) for kind in expected[1].split(" | "))
        return f"expected {right}, got {KINDS.get(expected[2], expected[2])}", f"send {right}"
    return message, "add it" if message.startswith("Object missing required field") else ""


def _structs(type: Any) -> Iterator[Any]:
    """The Struct types that `type` mentions, the outermost first."""
    if isinstance(type, msgspec.StructMeta):
        yield type
        for field in msgspec.structs.fields(type):  # type: ignore[arg-type]
            yield from _structs(field.type)
    else:
        for argument in get_args(type):
            yield from _structs(argument)


def _links(row: dict[str, Any], path: str) -> Row:
    checked: Row = {}
    for peer, state in row.items():
        # True == 1, but a link is 0 or 1 and nothing else.
        if state not in (0, 1) or not isinstance(state, int) or isinstance(state, bool):
            raise invalid(
                at_key(path, peer), f"expected 0 or 1, got {_kind(state)}", "0 cuts a link, 1 restores it"
            )
        address = canonical_address(peer)
        if checked.setdefault(address, state) != state:
            raise invalid(
                at_key(path, peer), f"{address} is named twice, as 0 and as 1", "name each node once"
            )
    return checked


def _as_row(value: dict[str, Any]) -> Row:
    return _links(value, "$")


def _as_matrix(value: dict[str, Any]) -> Matrix:
    checked: Matrix = {}
    for sender, row in value.items():
        path = at_key("$", sender)
        if not isinstance(row, dict):
            raise invalid(path, f"expected an object, got {_kind(row)}", "send {from: {to: 0 or 1}}")
        checked.setdefault(canonical_address(sender), {}).update(_links(row, path))
    return checked


def _as_link_faults(value: dict[str, Any]) -> LinkFaults:
    for name in ("delay", "jitter"):
        if name in value and not (isinstance(value[name], str) and DURATION.fullmatch(value[name])):
            given = value[name]
            if not isinstance(given, str):
                raise invalid(f"$.{name}", f"expected a duration, got {_kind(given)}", _with_unit(name))
            shown = repr(given if len(given) <= LONGEST_SHOWN else f"{given[:LONGEST_SHOWN]}…")
            if LONG_DURATION.fullmatch(given):
                hint = "use at most nine digits before the point, and nine behind it"
                raise invalid(f"$.{name}", f"the duration {shown} has too many digits", hint)
            hint = _with_unit(name) if WITHOUT_UNIT.fullmatch(given) else f'send for example {{"{name}": "20ms"}}'
            raise invalid(f"$.{name}", f"expected a duration, got {shown}", hint)
    return _struct_of(LinkFaults)(value)


def _with_unit(name: str) -> str:
    return f'say the unit: {{"{name}": "20ms"}}'


def _as_it_is(value: dict[str, Any]) -> dict[str, Any]:
    return value


NEW_CLUSTER: Body[NewCluster] = Body(NewCluster, _struct_of(NewCluster))
NEW_NODE: Body[NewNode] = Body(NewNode, _struct_of(NewNode))
NEW_PEER: Body[NewPeer] = Body(NewPeer, _struct_of(NewPeer))
REMOVE_NODE: Body[RemoveNode] = Body(RemoveNode, _struct_of(RemoveNode))
SETTINGS: Body[dict[str, Any]] = Body(SettingsBody, _as_it_is)
REBALANCE: Body[RebalanceOrder] = Body(RebalanceOrder, _struct_of(RebalanceOrder))
TRANSFER: Body[TransferOrder] = Body(TransferOrder, _struct_of(TransferOrder))
ROW: Body[Row] = Body(Row, _as_row)
MATRIX: Body[Matrix] = Body(Matrix, _as_matrix)
ROLL_BACK: Body[RollBack] = Body(RollBack, _struct_of(RollBack))
NODE_PATCH: Body[dict[str, Any]] = Body(NodePatch, _as_it_is)
PLAN: Body[dict[str, Any]] = Body(PlanBody, _as_it_is)
SERVICE_SPEC: Body[dict[str, Any]] = Body(ServiceBody, _as_it_is)
STACK: Body[dict[str, Any]] = Body(StackBody, _as_it_is)
SERVICE_PATCH: Body[dict[str, Any]] = Body(ServicePatch, _as_it_is)
LINK_FAULTS: Body[LinkFaults] = Body(LinkFaults, _as_link_faults)
SERVICE_CALL: Body[dict[str, Any]] = Body(ServiceCall, _as_it_is)
