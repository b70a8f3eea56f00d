"""Reads a scenario file and finds every mistake in it, each with its line, its column and the nearest right word."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path as FilePath
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from ..control import check_schedule, check_schedules
from ..messages import EVENT_KINDS
from ..state.calls import InvalidCall, service_requests
from ..state.compose_reading import read_stack
from ..state.node_reading import check_words
from ..state.spec_reading import merge, read_spec
from ..state.specs import ServiceSpec
from .checkers import CHECKERS
from .document import Document, Path, WrongScenario, nearest
from .expressions import Expression, WrongExpression
from .format import (
    FAULTS,
    FOR_ALL,
    GROUPS,
    MAX_NODES,
    MODIFIERS,
    VERBS,
    Chaos,
    ClockFault,
    ClusterSettings,
    ClusterShape,
    DiskFault,
    Expectation,
    NewNode,
    RaftShape,
    Repeat,
    Scenario,
    Step,
)
from .quantities import ns_of
from .wording import choice_of, in_words, plainly, shown, words_for

__all__ = ["read_scenario", "read_scenario_file"]

SECTIONS = ("scenario", "version", "about", "seed", "clock", "cluster", "always", "steps", "chaos")
VERSION = 1
_WRONG = object()


def read_scenario_file(file: FilePath | str, nodes: Sequence[str] | None = None) -> Scenario:
    """Raises WrongScenario (also for a file that cannot be read)."""
    path = FilePath(file)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        document = Document("", str(file))
        document.wrong((), f"cannot be read: {why}")
        raise WrongScenario(document.mistakes) from None
    return read_scenario(text, str(file), nodes)


def read_scenario(text: str, file: str = "scenario", nodes: Sequence[str] | None = None) -> Scenario:
    """`nodes` are the names in a cluster that runs already, where it is to be played on one, else those that its
    `cluster` starts. Raises WrongScenario with every mistake."""
    return _Reader(Document(text, file), nodes).read()


class _Reader:
    """One document; `nodes` are the names known so far."""

    def __init__(self, document: Document, running: Sequence[str] | None = None) -> None:
        self.document = document
        self.running = running
        self.nodes: list[str] = []
        self.has_disks = False
        self.knows_nodes = True
        self.clusters = ["0"]
        """Cluster 0, and those that the steps so far make in it."""
        self.asked: list[tuple[str, Path]] = []
        """Nodes that conditions name, with their places: a later step may add them."""

    def read(self) -> Scenario:
        value = self.document.value
        if not isinstance(value, dict):
            self.document.wrong((), "a scenario is a mapping that begins with `scenario: TITLE`")
            raise WrongScenario(self.document.mistakes)
        for key in value:
            if key not in SECTIONS:
                self._wrong((key,), f"unknown section {key!r}{nearest(key, SECTIONS)}", key=True)
        cluster = self._field(value, "cluster", ClusterShape, ClusterShape())
        cluster = ClusterShape() if cluster is _WRONG else cluster
        self._timeouts(cluster.raft)
        # Of a cluster with other mistakes, too: no further ones are made of them.
        said = value.get("cluster")
        said = said if isinstance(said, dict) else {}
        many = said.get("nodes")
        if not isinstance(many, int) or isinstance(many, bool) or not 1 <= many <= MAX_NODES:
            many = cluster.nodes
        self.nodes = [f"node_{number}" for number in range(many)]
        self.has_disks = said.get("disks") is not None
        clock = self._field(value, "clock", Literal["virtual", "live"], "virtual")
        if self.running is not None:
            self.nodes = list(self.running)
        conditions: list[tuple[Path, Expression]] = []
        scenario = Scenario(
            title=self._title(value),
            about=str(self._field(value, "about", str, "")).strip(),
            seed=self._seed(value),
            clock="virtual" if clock is _WRONG else clock,
            cluster=cluster,
            always=self._always(value, conditions),
            conditions=tuple(condition for _, condition in conditions),
            steps=self._steps(value),
            chaos=self._chaos(value),
            file=self.document.file,
        )
        for name, path in self.asked:
            if name not in self.nodes:
                self._wrong(path, f"no node {name!r}{nearest(name, self.nodes)}")
        if self.document.mistakes:
            raise WrongScenario(self.document.mistakes)
        return scenario

    def _wrong(self, path: Path, message: str, *, key: bool = False) -> None:
        self.document.wrong(path, message, key=key)

    # -- sections

    def _title(self, value: dict[str, Any]) -> str:
        if "scenario" not in value:
            self._wrong((), "the title is missing; begin with `scenario: TITLE`")
        if "version" not in value:
            self._wrong((), "the version is missing; add `version: 1`")
        elif value["version"] != VERSION or isinstance(value["version"], bool):
            self._wrong(("version",), f"this program reads version {VERSION}")
        title = self._field(value, "scenario", str, "")
        return "" if title is _WRONG else str(title)

    def _seed(self, value: dict[str, Any]) -> int | None:
        seed = self._field(value, "seed", int | None, None)
        return None if seed is _WRONG else seed

    def _field(self, value: dict[str, Any], name: str, kind: Any, default: Any) -> Any:
        return self._convert(value[name], kind, (name,)) if name in value else default

    def _timeouts(self, raft: RaftShape) -> None:
        """What RaftConfig asks of them."""
        times = (raft.heartbeat, raft.election_min, raft.election_max)
        heartbeat_ms, min_ms, max_ms = (ns_of(time) // 1_000_000 for time in times)
        if not 0 < heartbeat_ms < min_ms <= max_ms:
            right = "whole milliseconds with 0ms < heartbeat < election_min <= election_max"
            self._wrong(("cluster", "raft"), f"the times must be {right}, not {', '.join(times)}")
        if raft.lease_reads and not raft.check_quorum:
            self._wrong(("cluster", "raft", "lease_reads"), "lease_reads needs check_quorum: true")

    def _always(self, value: dict[str, Any], conditions: list[tuple[Path, Expression]]) -> tuple[str, ...]:
        listed = value.get("always", [])
        if not isinstance(listed, list):
            self._wrong(("always",), f"expected {words_for(list[str])}, got {shown(listed)}")
            return ()
        names: list[str] = []
        for at, text in enumerate(listed):
            if self._convert(text, str, ("always", at)) is _WRONG:
                continue
            if text in CHECKERS:
                names.append(text)
            elif re.fullmatch(r"[\w-]+", text):
                self._wrong(("always", at), f"unknown promise {text!r}{nearest(text, CHECKERS)}")
            else:
                compiled = self._condition(text, ("always", at))
                if isinstance(compiled, Expression):
                    conditions.append((("always", at), compiled))
        return tuple(dict.fromkeys(names))

    def _chaos(self, value: dict[str, Any]) -> Chaos | None:
        chaos = self._field(value, "chaos", Chaos, None)
        said = value.get("chaos")
        if not isinstance(said, dict):
            return None
        # What can be told of its parts is told also where others of them are wrong.
        faults = said.get("faults")
        for verb in faults if isinstance(faults, dict) else ():
            if verb not in FAULTS:
                self._wrong(
                    ("chaos", "faults", verb),
                    f"no random fault {verb!r}{nearest(verb, FAULTS)}",
                    key=True,
                )
            elif verb == "disk" and not self.has_disks:
                self._wrong(("chaos", "faults", verb), "disk faults need `cluster: {disks: {}}`", key=True)
        if _is_no_time(said.get("for")):
            self._wrong(("chaos", "for"), "no time passes, so nothing happens; write more than 0s, or leave chaos out")
        if _is_no_time(said.get("every")):
            self._wrong(("chaos", "every"), "no time passes between faults; write more than 0s")
        if not isinstance(chaos, Chaos):
            return None
        if not any(chaos.faults.values()) and not chaos.clients:
            self._wrong(("chaos", "faults"), "every weight is 0; give one fault a weight")
        return chaos

    # -- steps

    def _steps(self, value: dict[str, Any]) -> tuple[Step, ...]:
        listed = value.get("steps", [])
        if listed == [] and "chaos" not in value:
            path = ("steps",) if "steps" in value else ()
            self._wrong(path, "nothing happens; add " + ("a step" if path else "`steps:`") + " or `chaos:`")
        if not isinstance(listed, list):
            self._wrong(("steps",), "the steps are a list: each begins with `- `")
            return ()
        steps = (self._step(step, ("steps", at), at + 1) for at, step in enumerate(listed))
        return tuple(step for step in steps if step is not None)

    def _step(self, value: Any, path: Path, number: int) -> Step | None:
        if not isinstance(value, dict):
            self._wrong(path, "a step is a mapping: one verb and its modifiers, such as `- isolate: leader`")
            return None
        known = (*VERBS, *MODIFIERS)
        for key in value:
            if key not in known:
                self._wrong((*path, key), f"unknown word {key!r}{nearest(key, known)}", key=True)
        verbs = [key for key in value if key in VERBS]
        if len(verbs) != 1:
            if verbs or all(key in MODIFIERS for key in value):
                found = f"found {', '.join(verbs)}" if verbs else "found none"
                self._wrong(path, f"a step has exactly one verb, {found}")
            for word in value:
                kind = VERBS[word].argument if word in VERBS else MODIFIERS.get(word)
                if kind is not None:
                    self._convert(value[word], kind, (*path, word))
            return None
        verb = verbs[0]
        words = self._modifiers(value, verb, path)
        # Which nodes a nested cluster has is known when it is there.
        here = words.get("in_", "0")
        self.knows_nodes = here == "0"
        if here not in self.clusters:
            hint = nearest(here, self.clusters)
            if "did you mean" not in hint:
                hint += "; an earlier step makes one by a service with `cluster: {}`"
            self._wrong((*path, "in"), f"no cluster {here!r}{hint}")
        argument = self._convert(value[verb], VERBS[verb].argument, (*path, verb))
        line, column = self.document.place((*path, verb), key=True)
        if argument is _WRONG:
            self._parts(verb, value[verb], (*path, verb))
            return None
        self._note_clusters(verb, argument, here)
        condition = self._meaning(verb, argument, (*path, verb))
        if condition is _WRONG:
            return None
        repeat = words.get("repeat", 1)
        if verb == "add" and isinstance(argument, NewNode) and argument.name is None:
            for _ in range(1, repeat.times if isinstance(repeat, Repeat) else repeat):
                self.nodes.append(_next_name(self.nodes))
        return Step(
            verb=verb,
            argument=argument,
            number=number,
            line=line,
            column=column,
            condition=condition,
            **words,
        )

    def _note_clusters(self, verb: str, argument: Any, here: str) -> None:
        """A service whose container is a cluster makes one of its name."""
        match verb:
            case "submit":
                made = [request.name for request in service_requests(argument) if request.cluster is not None]
            case "update":
                made = [name for name, spec in argument.items() if spec.get("cluster") is not None]
            case _:
                return
        self.clusters += [f"{here}.{name}" for name in made]

    def _modifiers(self, value: dict[str, Any], verb: str, path: Path) -> dict[str, Any]:
        allowed = (*FOR_ALL, *VERBS[verb].modifiers)
        words: dict[str, Any] = {}
        for word, kind in MODIFIERS.items():
            if word not in value:
                continue
            if word not in allowed:
                hint = "; use `eventually`, which waits" if verb == "expect" and word == "within" else ""
                takes = ", ".join(allowed)
                self._wrong(
                    (*path, word), f"{verb} takes no {word!r}{hint or f'; it takes {takes}'}", key=True
                )
                continue
            converted = self._convert(value[word], kind, (*path, word))
            if converted is not _WRONG:
                words[{"for": "for_", "in": "in_"}.get(word, word)] = converted
        return words

    def _meaning(self, verb: str, argument: Any, path: Path) -> Any:
        """What the types do not say; the compiled condition where there is one."""
        match verb:
            case "add":
                name = argument.name if isinstance(argument, NewNode) else argument
                self.nodes.append(name or _next_name(self.nodes))
            case "partition" if isinstance(argument, list):
                self._partition(argument, path)
            case "disk":
                self._disk(argument, path)
            case "label":
                self._labels(argument, path)
            case "settings":
                if argument == ClusterSettings():
                    self._wrong(path, f"nothing changes; add {' or '.join(ClusterSettings.__struct_fields__)}")
            case "clock":
                if argument == ClockFault(of=argument.of):
                    self._wrong(path, "nothing happens; add leap or rate")
            case "eventually" | "never" | "expect":
                if isinstance(argument, str):
                    return self._condition(argument, path)
                return self._expectation(argument, path)
        return None

    def _parts(self, verb: str, said: Any, path: Path) -> None:
        """What can be told of the parts of an argument that is wrong in others."""
        if verb == "disk" and not self.has_disks:
            self._wrong(path, "disk faults need simulated disks; add `disks: {}` to `cluster`")
        if not isinstance(said, dict):
            return
        if verb == "label":
            for target in said:
                self._target(target, (*path, target), key=True)
        if verb in ("eventually", "never", "expect"):
            roles, leader = said.get("roles"), said.get("leader")
            for node in roles if isinstance(roles, dict) else ():
                self._node(node, (*path, "roles", node), key=True)
            if isinstance(leader, str):
                self._node(leader, (*path, "leader"))

    def _disk(self, fault: DiskFault, path: Path) -> None:
        if not self.has_disks:
            self._wrong(path, "disk faults need simulated disks; add `disks: {}` to `cluster`")
        if fault == DiskFault(of=fault.of):
            self._wrong(path, "nothing happens; add slow, full, failing, lose_power or flip_bit")

    def _labels(self, labels: dict[str, dict[str, str | None]], path: Path) -> None:
        for target, changes in labels.items():
            self._target(target, (*path, target), key=True)
            try:
                check_words({}, dict.fromkeys(changes, ""))
            except InvalidCall as error:
                self._wrong((*path, target), f"{error.message}; {error.hint}")
        if not any(labels.values()):
            self._wrong(path, "nothing changes; write {NODE: {LABEL: VALUE}}, and null for a label that goes")

    def _condition(self, text: str, path: Path) -> Any:
        try:
            made = Expression(text)
            for kind in made.kinds:
                if kind not in EVENT_KINDS:
                    self._wrong(path, f"no event is of the kind {kind!r}{nearest(kind, EVENT_KINDS)}")
            if self.knows_nodes:
                self.asked += [(name, path) for name in made.nodes]
            return made
        except WrongExpression as error:
            self._wrong(
                path,
                f"{error} (at {text[error.column : error.column + 20]!r})" if error.column else str(error),
            )
            return _WRONG

    def _expectation(self, expected: Expectation, path: Path) -> Any:
        if expected == Expectation():
            self._wrong(path, "nothing is expected; add replicas, leader, leaders, nodes or roles")
        for node in expected.roles or ():
            self._node(node, (*path, "roles", node), key=True)
        if expected.leader is not None:
            self._node(expected.leader, (*path, "leader"))
        return None

    # -- names

    def _node(self, name: str, path: Path, *, key: bool = False) -> None:
        if self.knows_nodes and name not in self.nodes:
            self._wrong(path, f"no node {name!r}{nearest(name, self.nodes)}", key=key)

    def _target(self, name: str, path: Path, *, key: bool = False) -> None:
        if self.knows_nodes and name not in self.nodes and name not in GROUPS:
            self._wrong(path, f"no node {name!r}{nearest(name, (*GROUPS, *self.nodes))}", key=key)

    def _links(self, text: str, path: Path) -> None:
        # As when it is played: a whole name first, for names have dashes, too.
        sign = "->" if "->" in text else "-"
        ends = [text] if text in self.nodes else [name.strip() for name in text.split(sign)]
        for name in ends:
            self._target(name, path)
        if len(ends) > 2:
            right = "write a-b for both directions, a->b for one; where names have dashes write a->b"
            self._wrong(path, f"{text!r} is no link; {right}")
        elif len(ends) == 2 and ends[0] == ends[1] and (ends[0] in ("leader", *self.nodes) or not self.knows_nodes):
            self._wrong(path, f"a link joins two nodes, and {text!r} names one; for all links of it write {ends[0]}")

    def _partition(self, groups: list[list[str]], path: Path) -> None:
        """Each node in one group; which nodes a word for some stands for is known when the step comes."""
        first: dict[str, int] = {}
        for at, group in enumerate(groups):
            for inner, name in enumerate(group):
                if first.setdefault(name, at) != at:
                    self._wrong((*path, at, inner), f"{name} stands in two groups; name each node once")
                elif name == "all":
                    self._wrong((*path, at, inner), "all leaves nobody for another group; name the nodes of each")
        if not first:
            self._wrong(path, "no group has a node; name the nodes of at least one")
        elif self.knows_nodes and len(set(first.values())) == 1 and first.keys() >= set(self.nodes):
            self._wrong(path, "every node is in one group, so nothing is cut; leave one out, or make two groups")

    # -- types

    def _convert(self, value: Any, kind: Any, path: Path) -> Any:
        """As `msgspec.convert`, but every mistake is noted; _WRONG where there was one."""
        noted = len(self.document.mistakes)
        found = self._converted(value, kind, path)
        return _WRONG if len(self.document.mistakes) > noted else found

    def _converted(self, value: Any, kind: Any, path: Path) -> Any:
        if get_origin(kind) is Annotated:
            return self._annotated(value, kind, path)
        if get_origin(kind) in (Union, UnionType):
            meant = choice_of(value, get_args(kind))
            if meant is None:
                self._wrong(path, f"expected {words_for(kind)}, got {shown(value)}")
                return _WRONG
            return self._converted(value, meant, path)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return self._struct(value, kind, path)
        if get_origin(kind) is list and isinstance(value, list):
            inner = get_args(kind)[0]
            return [self._converted(item, inner, (*path, at)) for at, item in enumerate(value)]
        if get_origin(kind) is dict and isinstance(value, dict):
            key_kind, inner = get_args(kind)
            for key in value if get_origin(key_kind) is Annotated else ():
                self._key(key, key_kind, (*path, key))
            return {key: self._converted(item, inner, (*path, key)) for key, item in value.items()}
        if get_origin(kind) is Literal and value not in get_args(kind):
            is_text = isinstance(value, str)
            said = f"{value!r} is not known here{nearest(value, get_args(kind))}" if is_text else None
            self._wrong(path, said or f"expected {words_for(kind)}, got {shown(value)}")
            return _WRONG
        if kind is int:
            value = _whole(value)
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            self._wrong(path, plainly(error, value))
            return _WRONG

    def _annotated(self, value: Any, kind: Any, path: Path) -> Any:
        extra: dict[str, Any] = next((meta.extra for meta in kind.__metadata__ if meta.extra), {})
        if "means" in extra:
            try:
                return msgspec.convert(value, kind)
            except msgspec.ValidationError:
                self._wrong(path, f"{shown(value)} is not {extra['means']}")
                return _WRONG
        plain = get_args(kind)[0]
        if get_origin(plain) in (Union, UnionType) and isinstance(value, list):
            if not value:
                self._wrong(path, f"the list is empty, so nothing is meant; name {extra['expects']}")
                return _WRONG
            one = Annotated[str, *kind.__metadata__]
            return [self._annotated(item, one, (*path, at)) for at, item in enumerate(value)]
        if get_origin(plain) in (list, dict) and isinstance(value, get_origin(plain)):
            return self._collection(value, kind, extra, path)
        if plain is int:
            value = _whole(value)
        try:
            converted = msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            expects = extra.get("expects")
            self._wrong(path, plainly(error, value) if expects is None else f"expected {expects}, got {shown(value)}")
            return _WRONG
        match extra.get("is"):
            case "target":
                self._target(value, path)
                if value in extra.get("but_not", ()):
                    self._wrong(path, extra["why"])
            case "links":
                self._links(value, path)
        return converted

    def _collection(self, value: Any, kind: Any, extra: dict[str, Any], path: Path) -> Any:
        """A list or a mapping, item by item; then what is asked of it as a whole."""
        if not value and "empty" in extra:
            self._wrong(path, extra["empty"])
            return _WRONG
        converted = self._convert(value, get_args(kind)[0], path)
        match extra.get("is"):
            case "submission":
                self._submission(value, path)
            case "deployment":
                self._deployment(value, path)
            case "specs":
                named = get_args(get_args(kind)[0])[0]
                for service, spec in value.items():
                    if _is(service, named):  # else that is told already
                        self._spec(service, spec, (*path, service))
        return converted

    def _key(self, key: str, kind: Any, path: Path) -> None:
        if not _is(key, kind):
            means = next(meta.extra["means"] for meta in kind.__metadata__ if meta.extra)
            self._wrong(path, f"{shown(key)} is not {means}", key=True)

    def _spec(self, service: str, spec: Any, path: Path) -> None:
        try:
            check_schedule(read_spec(merge(ServiceSpec(), spec), name=service))
        except InvalidCall as error:
            self._invalid(error, path)

    def _submission(self, value: Any, path: Path) -> None:
        try:
            service_requests(value)
        except InvalidCall as error:
            self._invalid(error, path)

    def _invalid(self, error: InvalidCall, path: Path) -> None:
        inner = [int(part) if part.isdigit() else part for part in re.findall(r"[\w-]+", error.path)]
        is_key = error.message.startswith(("unknown field", "unknown key"))
        self._wrong((*path, *inner), f"{in_words(error.message)}; {error.hint}", key=is_key)

    def _deployment(self, value: Any, path: Path) -> None:
        stack = value.get("stack")
        if not isinstance(stack, str):
            self._wrong(path, "'stack' is missing: the name of the stack")
            stack = "stack"
        try:
            read = read_stack(stack, {key: item for key, item in value.items() if key != "stack"})
            check_schedules(stack, read.services)
        except InvalidCall as error:
            self._invalid(error, path)

    def _struct(self, value: Any, kind: type[msgspec.Struct], path: Path) -> Any:
        if not isinstance(value, dict):
            self._wrong(path, f"expected {words_for(kind)}, got {shown(value)}")
            return _WRONG
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        for key in value:
            if key not in fields:
                self._wrong((*path, key), f"unknown word {key!r}{nearest(key, fields)}", key=True)
        found = {
            field.name: self._converted(value[name], field.type, (*path, name))
            for name, field in fields.items()
            if name in value
        }
        for name, field in fields.items():
            if field.required and name not in value:
                self._wrong(path, f"{name!r} is missing")
        if any(item is _WRONG for item in found.values()) or any(
            f.required and f.name not in found for f in fields.values()
        ):
            return _WRONG
        return kind(**found)


def _is(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _is_no_time(value: Any) -> bool:
    try:
        return isinstance(value, str) and not ns_of(value)
    except ValueError:
        return False  # it is told already


def _whole(value: Any) -> Any:
    """5.0 is a whole number, as JSON Schema has it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _next_name(nodes: list[str]) -> str:
    number = 0
    while f"node_{number}" in nodes:
        number += 1
    return f"node_{number}"
