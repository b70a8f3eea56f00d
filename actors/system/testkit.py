"""For tests of programs made of actors: a probe that expects messages, on either clock.

with Virtual(seed=1) as system:
    probe = Probe(system)
    system.spawn(Greeter, "greeter")
    probe.send("greeter", Hello(reply_to=probe.name))
    assert probe.expect(Greeting).text == "hello"
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition
from typing import Any, TypeVar

from .actor import Actor
from .context import Context
from .system import System
from .virtual import Virtual

T = TypeVar("T")


class Probe:
    """An actor that keeps what it receives, and the handle on it for the test outside."""

    def __init__(self, system: System, name: str = "probe") -> None:
        self.name = name
        self._system = system
        self._received: list[Any] = []
        self._read = 0  # how many of them `expect` has passed
        self._arrived = Condition()
        system.spawn(_ProbeActor, name, self._take)

    @property
    def received(self) -> tuple[Any, ...]:
        """All messages so far, the oldest first."""
        return tuple(self._received)

    def send(self, to: str, message: Any) -> None:
        """Send a message as the probe."""
        self.do(lambda context: context.send(to, message))

    def watch(self, name: str) -> None:
        """Have the probe told when an actor ends; expect `Terminated`."""
        self.do(lambda context: context.watch(name))

    def do(self, what: Callable[[Context], object]) -> None:
        """Call `what` with the probe's context, in the probe's turn."""
        self._system.send(self.name, _Do(what))

    def expect(self, kind: type[T], within_s: float = 2.0) -> T:
        """Wait for the next message of a class, passing over others. AssertionError when none comes in time."""
        start = self._read

        def has_come() -> bool:
            while self._read < len(self._received):
                self._read += 1
                if isinstance(self._received[self._read - 1], kind):
                    return True
            return False

        if not self.wait_for(has_come, within_s):
            seen = ", ".join(repr(m) for m in self._received[start:]) or "nothing"
            raise AssertionError(f"{self.name} got no {kind.__name__} within {within_s:g} s; it got {seen}")
        found: T = self._received[self._read - 1]
        return found

    def expect_nothing(self, for_s: float) -> None:
        """Let time pass. AssertionError when a message arrives that `expect` has not passed."""
        if self.wait_for(lambda: self._read < len(self._received), for_s):
            raise AssertionError(
                f"{self.name} got {self._received[self._read]!r}, and should have got nothing"
            )

    def wait_for(self, predicate: Callable[[], bool], within_s: float) -> bool:
        """Whether `predicate` holds in time. Asked after every message in virtual time, live at this probe's."""
        if isinstance(self._system, Virtual):
            return self._system.run_until(predicate, within_s)
        with self._arrived:
            return self._arrived.wait_for(predicate, within_s)

    def _take(self, message: Any) -> None:
        with self._arrived:
            self._received.append(message)
            self._arrived.notify_all()


class _Do:
    """A message to the probe: do this."""

    def __init__(self, what: Callable[[Context], object]) -> None:
        self.what = what


class _ProbeActor(Actor):
    def __init__(self, take: Callable[[Any], None]) -> None:
        self._take = take

    def on_receive(self, message: Any) -> None:
        if isinstance(message, _Do):
            message.what(self.context)
        else:
            self._take(message)
