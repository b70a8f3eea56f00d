"""Verbs about links: cut and restore, delay, loss, duplicates, reordering, partitions, isolation, healing.

A link is cut as long as any fault says so: where two faults overlap, the end of one does not undo the other. In a
cluster that ran before, what was cut or slow before the first fault of a link is so again after the last one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ..messages import DescribeLinkRequest, LinkPolicy, LinkShown, SetConnections, SetLinkPolicyRequest
from .format import SHAPES
from .quantities import ns_of, share_of
from .stage import CLUSTER, Fault, Stage, StepFailed

__all__ = ["LinkVerbs"]

Pair = tuple[str, str]
Links = str | list[str]


class LinkVerbs(Stage):
    """What can be done to links: "a-b" is both directions, "a->b" one, a target alone all its links, "all" all."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # By cluster, each.
        self._cuts: dict[str, dict[Pair, dict[int, None]]] = {}
        self._slowed: dict[str, dict[Pair, dict[int, dict[str, Any]]]] = {}
        # Of a cluster that ran before, and of links only that faults of this scenario hold.
        self._was_cut: dict[Pair, bool] = {}
        self._was_like: dict[Pair, LinkPolicy] = {}

    @property
    def _cut_by(self) -> dict[Pair, dict[int, None]]:
        return self._cuts.setdefault(self.cluster, {})

    @property
    def _layers(self) -> dict[Pair, dict[int, dict[str, Any]]]:
        return self._slowed.setdefault(self.cluster, {})

    def cut(self, links: Links, *, for_: str | float | None = None) -> Fault:
        """Drop what is on these links, and whatever comes."""
        return self._cut(self.pairs_of(links), "cut", None, for_)

    def restore(self, links: Links) -> None:
        """Let these links carry again, whoever cut them."""
        pairs = self.pairs_of(links)
        self._set_links(pairs, 1)
        for pair in pairs:
            self._cut_by.pop(pair, None)
            self._was_cut.pop(pair, None)

    def isolate(self, target: Links, *, for_: str | float | None = None) -> Fault:
        """Cut every link of each of these nodes, both ways."""
        nodes = self.nodes_of(target)
        pairs = [pair for node in nodes for pair in self._around(node)]
        return self._cut(list(dict.fromkeys(pairs)), "isolate", nodes, for_)

    def partition(self, groups: str | list[list[str]], *, for_: str | float | None = None) -> Fault:
        """Only nodes of one group hear each other; or one of the shapes halves, majority, ring, bridge."""
        names = self.names()
        if isinstance(groups, str):
            if groups not in SHAPES:
                raise StepFailed(f"no shape {groups!r}; known are {', '.join(SHAPES)}")
            heard, what = self._shape(groups, names)
        else:
            sides = [self.nodes_of(group) for group in groups]
            named = [node for side in sides for node in side]
            if len(named) > len(set(named)):
                raise StepFailed("partition: a node stands in two groups; name each once")
            sides.append([name for name in names if name not in named])
            heard, what = _same_side(sides), " | ".join(",".join(side) for side in sides if side)
        pairs = [(a, b) for a in names for b in names if a != b and not heard(a, b)]
        if not pairs and not isinstance(groups, str):
            raise StepFailed("partition: every node is in one group, so nothing is cut; leave one out")
        return self._cut(pairs, "partition", [what], for_)

    def _shape(self, shape: str, names: list[str]) -> tuple[Callable[[str, str], bool], str]:
        order = self.random.sample(names, len(names))
        half = len(order) // 2
        match shape:
            case "halves":
                sides = [order[:half], order[half:]]
            case "majority":
                # The leader, if there is one, ends up with the few.
                leader = self.view.leader
                order.sort(key=lambda name: name != leader)
                few = (len(order) - 1) // 2
                sides = [order[:few], order[few:]]
            case "ring":
                return _ring(order), f"ring {','.join(order)}"
            case _:
                middle = order.pop()
                sides = [order[: len(order) // 2], order[len(order) // 2 :]]
                within = _same_side(sides)
                shown = " | ".join(",".join(side) for side in sides)
                return lambda a, b: middle in (a, b) or within(a, b), f"bridge {middle}: {shown}"
        return _same_side(sides), f"{shape}: " + " | ".join(",".join(side) for side in sides)

    # -- how well links carry

    def delay(
        self,
        by: str | float,
        *,
        jitter: str | float = 0,
        links: Links = "all",
        for_: str | float | None = None,
    ) -> Fault:
        """Make links slow."""
        changed = {"delay_s": ns_of(by) / 1e9, "jitter_s": ns_of(jitter) / 1e9}
        return self._worsen(links, "delay", for_, changed)

    def loss(self, share: str | float, *, links: Links = "all", for_: str | float | None = None) -> Fault:
        """Lose a share of the messages."""
        return self._worsen(links, "loss", for_, {"loss": share_of(share)})

    def duplicate(
        self, share: str | float, *, links: Links = "all", for_: str | float | None = None
    ) -> Fault:
        """Deliver a share of the messages twice."""
        return self._worsen(links, "duplicate", for_, {"duplicate": share_of(share)})

    def reorder(self, share: str | float, *, links: Links = "all", for_: str | float | None = None) -> Fault:
        """Let a share of the messages overtake others."""
        return self._worsen(links, "reorder", for_, {"reorder": share_of(share)})

    def heal(self, target: Links = "all") -> None:
        """Restore and calm every link of these nodes; in a cluster that ran before, make them as they were then."""
        nodes = self.nodes_of(target)
        touched = {
            pair: None for pair in (*self._layers, *self._cut_by) if pair[0] in nodes or pair[1] in nodes
        }
        if self.door is None:
            cut = [(link.source, link.target) for link in self.view.links if link.cut]
            cut = [pair for pair in cut if pair[0] in nodes or pair[1] in nodes]
        else:
            cut = [pair for pair in touched if self._cut_by.get(pair)]
        calmed = [pair for pair in touched if self._layers.pop(pair, None)]
        for pair in touched:
            self._cut_by.pop(pair, None)
        self._let_go(cut)
        self._calm(calmed)

    def _worsen(self, links: Links, verb: str, for_: str | float | None, changed: dict[str, Any]) -> Fault:
        number, pairs = self.new_number(), self.pairs_of(links)
        left: dict[Pair, None] = {}  # what is to be set, also by a second undo, should the first one fail

        def begin() -> None:
            self._note_policies(pairs)
            for pair in pairs:
                self._layers.setdefault(pair, {})[number] = changed
            self._set_policies(pairs)

        def undo() -> None:
            left.update((pair, None) for pair in pairs if self._layers.get(pair, {}).pop(number, None) is not None)
            self._calm(list(left))
            left.clear()

        return self.fault(verb, [links] if isinstance(links, str) else list(links), undo, for_, begin)

    def _note_policies(self, pairs: list[Pair]) -> None:
        """How somebody else's links carry, before the first fault makes them worse."""
        if self.door is None:
            return
        for pair in pairs:
            if pair not in self._was_like:
                shown: LinkShown = self.ask(DescribeLinkRequest(source=pair[0], target=pair[1]), "links")
                self._was_like[pair] = shown.status.policy

    def _calm(self, pairs: list[Pair]) -> None:
        """These links have one fault less."""
        self._set_policies(pairs)
        for pair in pairs:
            if not self._layers.get(pair):
                self._was_like.pop(pair, None)

    def _set_policies(self, pairs: list[Pair]) -> None:
        names = self._names_of_links()
        for pair in pairs:
            # What a nested cluster's links ride on is slow enough by itself.
            policy: LinkPolicy = self.orchestrator_settings.link if self.cluster == CLUSTER else LinkPolicy()
            policy = self._was_like.get(pair, policy)
            for changed in self._layers.get(pair, {}).values():
                policy = msgspec.structs.replace(policy, **changed)
            if pair[0] in names and pair[1] in names:
                self.ask(SetLinkPolicyRequest(source=pair[0], target=pair[1], policy=policy), "links")

    # -- cutting

    def _cut(self, pairs: list[Pair], verb: str, of: list[str] | None, for_: str | float | None) -> Fault:
        number = self.new_number()
        left: dict[Pair, None] = {}

        def begin() -> None:
            self._note_cuts(pairs)
            for pair in pairs:
                self._cut_by.setdefault(pair, {})[number] = None
            self._set_links(pairs, 0)

        def undo() -> None:
            for pair in pairs:
                holders = self._cut_by.get(pair, {})
                if number in holders:
                    del holders[number]
                    if not holders:
                        left[pair] = None
            self._let_go(list(left))
            left.clear()

        return self.fault(verb, [f"{a}->{b}" for a, b in pairs] if of is None else of, undo, for_, begin)

    def _note_cuts(self, pairs: list[Pair]) -> None:
        """Which of somebody else's links are cut, before the first fault cuts them."""
        if self.door is None or all(pair in self._was_cut for pair in pairs):
            return
        cut = {(link.source, link.target) for link in self.seen().links if link.cut}
        for pair in pairs:
            self._was_cut.setdefault(pair, pair in cut)

    def _let_go(self, pairs: list[Pair]) -> None:
        """No fault holds these links any more: they carry again, or are as somebody else had left them."""
        self._set_links([pair for pair in pairs if not self._was_cut.get(pair)], 1)
        for pair in pairs:
            if not self._cut_by.get(pair):
                self._was_cut.pop(pair, None)

    def cut_by_others(self) -> list[str]:
        """Which links are cut in a cluster that ran before, and not by this scenario."""
        cut = [(link.source, link.target) for link in self.view.links if link.cut]
        return [f"{a}->{b}" for a, b in cut if not self._cut_by.get((a, b)) or self._was_cut.get((a, b))]

    def _set_links(self, pairs: list[Pair], up: int) -> None:
        names = self._names_of_links()
        matrix: dict[str, dict[str, int]] = {}
        for source, target in pairs:
            if source in names and target in names:
                matrix.setdefault(source, {})[target] = up
        if matrix:
            self.ask(SetConnections(matrix=matrix), "links")

    def forget(self, node: str) -> None:
        """See Stage.forget."""
        super().forget(node)
        for held in (self._cut_by, self._layers, self._was_cut, self._was_like):
            for pair in [pair for pair in held if node in pair]:
                held.pop(pair)

    def _names_of_links(self) -> list[str]:
        """Between which nodes there are links to be set: none where a nested cluster went while a fault lasted."""
        return self.names() if self.cluster in self.watch.clusters else []

    # -- which links

    def pairs_of(self, links: Links) -> list[Pair]:
        """The directions that a text or a list of texts means now."""
        self.need_cluster()
        if isinstance(links, list | tuple):
            if not links:
                raise StepFailed("the list of links is empty; name one at least")
            return list(dict.fromkeys(pair for one in links for pair in self.pairs_of(one)))
        names = self.names()
        if links == "all":
            return [(a, b) for a in names for b in names if a != b]
        if links in names or "-" not in links:
            return list(dict.fromkeys(pair for node in self.nodes_of(links) for pair in self._around(node)))
        one_way = "->" in links
        left, _, right = links.partition("->" if one_way else "-")
        source, target = left.strip(), right.strip()
        if source == target and source in ("leader", *names):
            raise StepFailed(f"a link joins two nodes, and {links!r} names one; for all links of it write {source}")
        sources, targets = self._ends(source, target, names)
        pairs = [(a, b) for a in sources for b in targets if a != b]
        if not pairs:
            raise StepFailed(f"no link is {links!r} now: {', '.join(sources)} stands on both sides")
        return pairs if one_way else list(dict.fromkeys(p for a, b in pairs for p in ((a, b), (b, a))))

    def _ends(self, source: str, target: str, names: list[str]) -> tuple[list[str], list[str]]:
        """Which nodes stand on both sides; what is drawn for one of them is no node of the other."""
        drawn = [word for word in ("one", "follower") if word not in names]
        if target in drawn:
            sources = self.nodes_of(source)
            if len(sources) == 1:
                return sources, self.other_than(sources, target) or sources
            return sources, self.nodes_of(target)
        if source in drawn and target in ("leader", *names):
            targets = self.nodes_of(target)
            return self.other_than(targets, source) or targets, targets
        return self.nodes_of(source), self.nodes_of(target)

    def _around(self, node: str) -> list[Pair]:
        return [pair for other in self.names() if other != node for pair in ((node, other), (other, node))]


def _same_side(sides: list[list[str]]) -> Callable[[str, str], bool]:
    side = {node: number for number, nodes in enumerate(sides) for node in nodes}
    return lambda a, b: side[a] == side[b]


def _ring(order: list[str]) -> Callable[[str, str], bool]:
    """Everybody hears so many neighbours on each side that they are a majority with it, and no two the same one."""
    place = {node: at for at, node in enumerate(order)}
    many = len(order)
    reach = max(1, (many // 2 + 1) // 2)

    def heard(a: str, b: str) -> bool:
        apart = abs(place[a] - place[b])
        return min(apart, many - apart) <= reach

    return heard
