"""Questions to nodes, and the answers that came in time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..messages import DescribeState, Message, NodeAnswer, Question, node_actor
from ..system import Timer
from .claims import Claims
from .host import Host

__all__ = ["GATHER_S", "Answers", "Expired", "Questions"]

GATHER_S = 0.3
ANSWER_S = 3.0
"""How long a leader is looked for that can answer for all."""

Answers = dict[str, NodeAnswer]
"""By node."""
Done = Callable[[Any], object]


class Expired(Message, frozen=True, kw_only=True, gc=False):
    """To the front door itself: the question with that number has waited long enough."""

    ref: int


class _Question:
    """Something asked of one or more nodes, and what is done with the answers."""

    __slots__ = ("answers", "done", "missing", "timer")

    def __init__(self, missing: set[str], done: Callable[[Answers], object], timer: Timer) -> None:
        self.missing = missing
        self.answers: Answers = {}
        self.done = done
        self.timer = timer


class Questions:
    """What one cluster's nodes were asked and have not all answered."""

    def __init__(self, host: Host, claims: Claims) -> None:
        self._host = host
        self._claims = claims
        self._next_ref = 0
        self._open: dict[int, _Question] = {}

    def __len__(self) -> int:
        return len(self._open)

    def ask(
        self,
        nodes: tuple[str, ...],
        message: Callable[[int, str], Message],
        done: Callable[[Answers], object],
        within_s: float = GATHER_S,
    ) -> None:
        """Send each node its `message(ref, node)`; `done` gets the answers when all are there, or those that are there
        in time."""
        ref = self._expect(set(nodes), done, within_s)
        for node in nodes:
            self._host.context.send(node_actor(self._host.id, node), message(ref, node))

    def later(self, delay_s: float, action: Callable[[], object]) -> None:
        """Do something after a while; as a question that nobody is asked, it expires and is done."""
        self._expect(set(), lambda _: action(), delay_s)

    def ask_leader(self, detail: str, call: str | None, done: Done) -> None:
        """A linearizable answer from whoever leads; `done` gets the value, or NoLeader when there is none in time."""
        self.ask_about(Question(about=detail, name=call), done)

    def ask_about(self, question: Question, done: Done, within_s: float = 0.5) -> None:
        """The same, for any question that the leader answers; it gets so long before it is asked again."""
        me = self._host.context.name
        self.ask_leader_with(lambda ref, _: DescribeState(ref=ref, reply_to=me, question=question), done, within_s)

    def ask_leader_with(
        self, message: Callable[[int, str], Message], done: Done, within_s: float = 0.5
    ) -> None:
        """The same, for any message that the leader answers."""
        until = self._host.context.now() + max(ANSWER_S, within_s)
        self._ask_leader(message, done, until, within_s)

    def answered(self, answer: NodeAnswer) -> None:
        """A node's answer; one that comes late or twice is left aside."""
        question = self._open.get(answer.ref)
        if question is None or answer.node not in question.missing:
            return
        question.missing.discard(answer.node)
        question.answers[answer.node] = answer
        if not question.missing:
            self._close(answer.ref)

    def expired(self, message: Expired) -> None:
        """Whoever has not answered will not be waited for."""
        self._close(message.ref)

    def _expect(self, missing: set[str], done: Callable[[Answers], object], within_s: float) -> int:
        self._next_ref += 1
        ref = self._next_ref
        self._open[ref] = _Question(missing, done, self._host.context.after(within_s, Expired(ref=ref)))
        return ref

    def _close(self, ref: int) -> None:
        question = self._open.pop(ref, None)
        if question is not None:
            question.timer.cancel()
            question.done(question.answers)

    def _ask_leader(
        self, message: Callable[[int, str], Message], done: Done, until: float, within_s: float
    ) -> None:
        leader = self._claims.leader
        if leader is None:
            done(self._claims.no_leader())
            return

        def answered(answers: Answers) -> None:
            answer = answers.get(leader)
            if answer is not None and answer.error is None:
                done(answer.value)
            elif self._host.context.now() < until:
                # The leader was lost meanwhile, or is not sure that it leads: ask whoever leads a moment later.
                self.later(0.05, lambda: self._ask_leader(message, done, until, within_s))
            else:
                done(self._claims.no_leader())

        self.ask((leader,), message, answered, within_s=within_s)
