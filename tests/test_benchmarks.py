"""The benchmarks live, failover, virtual and rest do what they say; how fast is for people to read, not for tests."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from benchmarks import _engines, _pysyncobj, live, rest, virtual
from benchmarks._members import FRONT, WhoLeads, start_members
from raftyard.actors import Virtual


@pytest.fixture
def system() -> Iterator[Virtual]:
    with Virtual(seed=3, raise_crashes=True) as system:
        yield system


def test_members_elect_a_leader_whom_their_parent_names_again(system: Virtual) -> None:
    leader = start_members(system)
    assert leader in system.names()
    assert system.ask(FRONT, WhoLeads()) == leader


@pytest.mark.parametrize("outstanding", [1, 7])
def test_the_load_keeps_its_commands_under_way_until_its_time_is_over(
    system: Virtual, outstanding: int
) -> None:
    # On the virtual clock messages take no time, so every link is given some: else one instant would hold all commands.
    leader = start_members(system, delay_s=0.001)
    system.spawn(live.Client, "client")
    took_ns = system.ask(
        "client", live.Load(leader=leader, outstanding=outstanding, for_s=0.2), timeout_s=5.0
    )
    # One way to the followers and one back; both clocks' ends may cut a round off.
    assert set(took_ns) == {2_000_000}
    assert 99 * outstanding <= len(took_ns) <= 101 * outstanding
    assert took_ns == sorted(took_ns)


def test_a_simulated_second_of_load_is_a_hundred_applied_proposals(monkeypatch: pytest.MonkeyPatch) -> None:
    assert virtual.sim_s_per_cpu_s(nodes=3, for_s=1.0, is_loaded=True, seed=1) > 0
    monkeypatch.setattr(virtual.Proposer, "on_start", lambda self: None)
    with pytest.raises(RuntimeError, match="only 0 of 100 proposals were applied"):
        virtual.sim_s_per_cpu_s(nodes=3, for_s=1.0, is_loaded=True, seed=1)


@pytest.mark.parametrize("engine", ["ours", "simpys"])
def test_both_engines_run_the_events_that_they_count(engine: str) -> None:
    worlds = _engines.ours() if engine == "ours" else _engines.simpys()
    if not worlds:
        pytest.skip("simpy is not installed")
    assert list(worlds) == ["timers2", "timers1000", "ping_pong1000"]
    assert [world(3_000)[0] for world in worlds.values()] == [3_000, 3_000, 3_000]


def test_our_sleepers_and_players_handle_one_message_an_event() -> None:
    with Virtual(seed=1) as system:
        system.spawn(_engines.Sleeper, "sleeper")
        system.spawn(_engines.Player, "a", "b", True, 10)
        system.spawn(_engines.Player, "b", "a", False, 10)
        system.run(5.0)
        # 5 wakes; the serve, and 10 balls back from each, of which the last finds nobody who sends it on.
        assert system.statistics()["handled"] == 5 + 1 + 20


def test_a_peer_that_is_not_installed_is_null(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_pysyncobj.importlib.util, "find_spec", lambda name: None)
    with _pysyncobj.Peers() as peers:
        assert not peers.is_there
    assert "pip install -e '.[test]'" in capsys.readouterr().err


ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\ngone"
)


def test_a_connection_takes_answers_apart_however_they_arrive() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = rest.Connection(listener.getsockname()[1])
        server, _ = listener.accept()
        with server:
            threading.Thread(target=lambda: [server.send(bytes([byte])) for byte in ANSWERS]).start()
            assert connection.receive() == (200, b"ok")
            assert connection.receive() == (404, b"gone")
            server.sendall(ANSWERS)
            assert connection.ask(b"GET") == (200, b"ok")
            with pytest.raises(RuntimeError, match="the server answered 404: gone"):
                connection.ask(b"GET")
        connection.close()


def test_requests_are_what_the_server_expects() -> None:
    assert rest.get("/x", 80) == b"GET /x HTTP/1.1\r\nHost: localhost:80\r\n\r\n"
    head, body = rest.post("/x", 80, {"a": 1}).split(b"\r\n\r\n")
    assert head.startswith(b"POST /x HTTP/1.1\r\n")
    assert head.endswith(b"Content-Length: 8")
    assert body == b'{"a": 1}'
