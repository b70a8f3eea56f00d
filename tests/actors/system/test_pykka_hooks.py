"""What we use of Pykka beyond its public names is still there: this fails first when a new version moves it."""

from __future__ import annotations

import inspect

import pykka
import pykka.messages
from pykka._envelope import Envelope

from raftyard.actors.system import Actor, Virtual


def parameters(function: object) -> list[str]:
    return list(inspect.signature(function).parameters)  # type: ignore[arg-type]


def test_the_hooks_for_new_kinds_of_actors_are_there() -> None:
    assert pykka.Actor.__abstractmethods__ == {"_create_actor_inbox", "_create_future", "_start_actor_loop"}
    for hook in ("_actor_loop", "_actor_loop_setup", "_actor_loop_running", "_actor_loop_teardown"):
        assert parameters(getattr(pykka.Actor, hook)) == ["self"]
    assert parameters(pykka.Actor._handle_receive) == ["self", "message"]
    assert parameters(pykka.Actor.on_failure) == ["self", "exception_type", "exception_value", "traceback"]


def test_an_envelope_is_a_message_and_a_future() -> None:
    envelope = Envelope("hello", reply_to=None)
    assert (envelope.message, envelope.reply_to) == ("hello", None)
    assert issubclass(pykka.messages._ActorStop, object)


def test_a_reference_takes_what_our_actors_offer() -> None:
    class Quiet(Actor):
        pass

    with Virtual() as system:
        system.spawn(Quiet, "quiet")
        ref = system.ref("quiet")
        assert isinstance(ref, pykka.ActorRef)
        assert (ref.actor_urn, ref.actor_class, ref.is_alive()) == ("quiet", Quiet, True)
        assert ref.actor_inbox.empty() is False  # its start waits


def test_no_subclass_hides_a_private_name_of_pykka() -> None:
    private = {name for name in vars(pykka.Actor) if name.startswith("_") and not name.startswith("__")}
    ours = {"_create_actor_inbox", "_create_future", "_start_actor_loop", "_abc_impl"}
    assert private & vars(Actor).keys() <= ours
