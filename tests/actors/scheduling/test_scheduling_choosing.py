"""Profiles and affinities of services: where their replicas go, one by one or all at once, and how nodes compare."""

import random

import numpy as np
import pytest
from control_loop import ControlLoop

from raftyard.actors.scheduling import Fleet, Placer, Reservation, choosing
from raftyard.actors.scheduling.reasons import compare
from raftyard.actors.scheduling.reconcile import plan_repair
from raftyard.actors.state import commands as c


def placed(loop, service="web"):
    return dict(loop.state.load_distribution(service))


def machines(*sizes, **body):
    """A loop with nodes of (cpu_milli, memory_mib) each."""
    loop = ControlLoop()
    for number, (cpu, memory) in enumerate(sizes):
        loop.add(f"n{number}", 1000)
        loop.node(f"n{number}", resources={"cpu_milli": cpu, "memory_mib": memory}, **body)
    return loop


def zones(*names):
    loop = ControlLoop(nodes=len(names), capacity=10)
    for number, zone in enumerate(names):
        loop.node(f"n{number}", labels={"zone": zone})
    return loop


# profiles


def test_without_a_profile_replicas_are_spread():
    loop = machines((4000, 8000), (4000, 8000))
    loop.put(replicas=4, reservations={"cpu_milli": 500})
    loop.settle()
    assert placed(loop) == {"n0": 2, "n1": 2}


def test_binpack_fills_one_node_after_the_other_the_fullest_first():
    loop = machines((4000, 8000), (4000, 8000), (4000, 8000))
    loop.put(
        name="old",
        replicas=1,
        reservations={"cpu_milli": 500},
        placement={"constraints": ["node.name == n1"]},
    )
    loop.settle()
    loop.put(replicas=10, reservations={"cpu_milli": 500}, placement={"profile": "binpack"})
    loop.settle()
    assert placed(loop) == {"n0": 3, "n1": 7}


def test_binpack_goes_by_slots_where_a_replica_takes_nothing_else():
    loop = ControlLoop(nodes=3, capacity=5)
    loop.put(replicas=7, placement={"profile": "binpack"})
    loop.settle()
    assert placed(loop) == {"n0": 5, "n1": 2}


def test_of_too_many_replicas_binpack_gives_up_those_on_the_emptiest_node():
    loop = ControlLoop(nodes=3, capacity=5)
    loop.put(replicas=12, placement={"profile": "binpack"})
    loop.settle()
    loop.put(replicas=9, placement={"profile": "binpack"})
    loop.settle()
    assert placed(loop) == {"n0": 5, "n1": 4}


def test_cosine_gives_each_replica_the_node_that_has_what_it_wants_in_proportion():
    loop = machines((8000, 4000), (4000, 8000))
    loop.put(
        name="calc",
        replicas=3,
        reservations={"cpu_milli": 800, "memory_mib": 100},
        placement={"profile": "cosine"},
    )
    loop.put(
        name="cache",
        replicas=3,
        reservations={"cpu_milli": 100, "memory_mib": 800},
        placement={"profile": "cosine"},
    )
    loop.settle()
    assert placed(loop, "calc") == {"n0": 3}
    assert placed(loop, "cache") == {"n1": 3}


def test_mixed_keeps_whole_gpus_for_those_who_want_them():
    loop = ControlLoop()
    for number in range(2):
        loop.add(f"n{number}", 100)
        loop.node(f"n{number}", resources={"cpu_milli": 64_000, "gpus": 2})
    loop.put(
        name="whole", replicas=1, reservations={"gpus": 2, "cpu_milli": 8000}, placement={"profile": "mixed"}
    )
    loop.put(
        name="share",
        replicas=4,
        reservations={"gpus": 1, "gpu_milli": 250, "cpu_milli": 2000},
        placement={"profile": "mixed"},
    )
    loop.put(
        name="more", replicas=1, reservations={"gpus": 1, "cpu_milli": 8000}, placement={"profile": "mixed"}
    )
    loop.settle()
    assert loop.state.pending() == ()
    held = {task.devices for task in loop.state.tasks_of_service("share")}
    assert len(held) == 1, "all shares lie on one device"


def test_what_not_every_node_declares_is_watched_and_not_scored():
    loop = machines((1000, 8000), (4000, 8000))
    loop.add("n2", 1000)
    loop.put(replicas=6, reservations={"cpu_milli": 800}, placement={"profile": "binpack"})
    loop.settle()
    assert placed(loop) == {"n0": 1, "n1": 5}


def test_a_profile_that_there_is_not_is_named():
    loop = ControlLoop(nodes=1)
    with pytest.raises(Exception, match="Invalid enum value 'binpak'"):
        loop.put(placement={"profile": "binpak"})


# affinities


def test_replicas_go_where_they_rather_are_and_elsewhere_when_that_is_full():
    loop = zones("a", "b", "b")
    near = {"affinities": [{"constraint": "node.labels.zone == b", "weight": 50}]}
    loop.put(replicas=6, placement=near)
    loop.settle()
    assert placed(loop) == {"n1": 3, "n2": 3}
    loop.put(replicas=23, placement=near)
    loop.settle()
    assert placed(loop) == {"n0": 3, "n1": 10, "n2": 10}
    loop.put(replicas=19, placement=near)
    loop.settle()
    assert placed(loop) == {"n1": 10, "n2": 9}, "those that are there for want of room leave first"


def test_weights_add_up_and_negative_ones_keep_away():
    loop = zones("a", "b", "c")
    loop.put(
        replicas=12,
        placement={
            "affinities": [
                {"constraint": "node.labels.zone == a", "weight": -100},
                {"constraint": "node.labels.zone in (a, c)", "weight": 60},
            ]
        },
    )
    loop.settle()
    assert placed(loop) == {"n1": 2, "n2": 10}
    weights = {one.node: one.affinity for one in compare(loop.state, "web")}
    assert weights == {"n1": 0, "n0": -40}


def test_a_service_goes_where_another_is_or_where_it_is_not():
    loop = ControlLoop(nodes=4, capacity=10)
    loop.put(name="cache", replicas=2, placement={"constraints": ["node.name in (n1, n2)"]})
    loop.put(replicas=4, placement={"affinities": [{"service": "cache", "weight": 50}]})
    loop.put(name="away", replicas=4, placement={"affinities": [{"service": "cache", "weight": -50}]})
    loop.settle()
    assert placed(loop) == {"n1": 2, "n2": 2}
    assert placed(loop, "away") == {"n0": 2, "n3": 2}


def test_affinities_come_before_preferences_and_those_before_the_profile():
    loop = zones("a", "a", "b", "b")
    loop.node("n0", labels={"zone": "a", "disk": "slow"})
    loop.put(
        replicas=12,
        placement={
            "profile": "binpack",
            "preferences": ["node.labels.zone"],
            "affinities": [{"constraint": "node.labels.disk == slow", "weight": -10}],
        },
    )
    loop.settle()
    assert placed(loop) == {"n1": 6, "n2": 6}


def test_moving_nearer_is_no_reason_to_move():
    loop = zones("a", "b")
    loop.put(replicas=2)
    loop.settle()
    loop.put(replicas=2, placement={"affinities": [{"constraint": "node.labels.zone == a", "weight": 1}]})
    assert loop.settle() == []


# how nodes compare


def test_nodes_are_compared_where_a_profile_scores_them():
    loop = machines((4000, 8000), (4000, 8000), (400, 8000))
    loop.put(replicas=1, reservations={"cpu_milli": 500}, placement={"profile": "binpack"})
    loop.settle()
    first, second = compare(loop.state, "web")
    assert (first.node, second.node) == ("n0", "n1") and first.score > second.score
    loop.put(name="plain", replicas=1)
    assert compare(loop.state, "plain") == () == compare(loop.state, "nobody")


# promises


def one_by_one(loop, name, free_of, profile):
    """Where the replicas of a waiting service go when a Placer places each alone."""
    state, service = loop.state, loop.state.service(name)
    kept, room = service.spec.reservations, state.room()
    names = ("cpu_milli", "memory_mib")
    fleet = Fleet(names, np.array([room.free(n) for n in names]).T, room.devices.count)
    fleet.capacity[:] = free_of
    wanted = Reservation(amounts=(kept.cpu_milli, kept.memory_mib), gpus=kept.gpus, gpu_milli=kept.gpu_milli)
    placer = Placer(fleet, profile)
    placer.know({wanted: service.pending})
    found = {}
    for _ in range(service.pending):
        answer = placer.place(wanted, is_new=False)
        if hasattr(answer, "node"):
            found[f"n{answer.node}"] = found.get(f"n{answer.node}", 0) + 1
    return dict(sorted(found.items(), key=lambda item: int(item[0][1:])))


@pytest.mark.parametrize("profile", ["binpack", "cosine", "mixed"])
@pytest.mark.parametrize("seed", range(12))
def test_all_at_once_is_what_one_gets_one_by_one(profile, seed):
    rng = random.Random(seed)
    sizes = [(1000 * rng.randrange(1, 17), 1024 * rng.randrange(1, 33)) for _ in range(rng.randrange(1, 9))]
    loop = ControlLoop()
    for number, (cpu, memory) in enumerate(sizes):
        loop.add(f"n{number}", 1000)
        loop.node(f"n{number}", resources={"cpu_milli": cpu, "memory_mib": memory, "gpus": rng.randrange(5)})
    loop.put(name="old", replicas=rng.randrange(9), reservations={"cpu_milli": 300, "memory_mib": 700})
    loop.settle()
    kept = {"cpu_milli": rng.randrange(100, 3000), "memory_mib": rng.randrange(100, 5000)}
    if rng.random() < 0.6:
        kept |= rng.choice(({"gpus": 1}, {"gpus": 2}, {"gpus": 1, "gpu_milli": 300}))
    loop.put(replicas=rng.randrange(1, 30), reservations=kept, placement={"profile": profile})
    expected = one_by_one(loop, "web", sizes, profile)
    loop.settle()
    assert placed(loop) == expected


@pytest.mark.parametrize("seed", range(12))
def test_spread_with_affinities_is_what_one_gets_one_by_one(seed):
    rng = random.Random(seed)
    loop = zones(*[rng.choice("abc") for _ in range(rng.randrange(1, 9))])
    for number in range(len(loop.state.nodes())):
        loop.node(f"n{number}", capacity=rng.randrange(12))
    affinities = [
        {"constraint": f"node.labels.zone == {zone}", "weight": rng.choice((-50, -1, 1, 50))} for zone in "ab"
    ]
    loop.put(replicas=rng.randrange(1, 40), placement={"affinities": affinities})
    weight = {
        node.name: sum(a["weight"] for a in affinities if a["constraint"][-1] == dict(node.labels)["zone"])
        for node in loop.state.nodes()
    }
    free, expected = {node.name: node.capacity for node in loop.state.nodes()}, {}
    for _ in range(loop.state.service("web").replicas):
        open_nodes = [name for name in free if free[name]]
        if open_nodes:
            best = max(open_nodes, key=lambda name: (weight[name], free[name], -int(name[1:])))
            free[best] -= 1
            expected[best] = expected.get(best, 0) + 1
    loop.settle()
    assert placed(loop) == dict(sorted(expected.items()))


@pytest.mark.parametrize("profile", ["spread", "binpack", "cosine", "mixed"])
def test_however_many_fit_into_a_plan_they_go_to_the_same_nodes(profile, monkeypatch):
    found = []
    for most in (1, 150, 1_600):
        monkeypatch.setattr(choosing, "MAX_WORK", most)
        loop = ControlLoop()
        for number in range(6):
            loop.add(f"n{number}", 100)
            loop.node(f"n{number}", resources={"cpu_milli": 8_000 + 4_000 * (number % 3), "gpus": number % 4})
        for number, gpus in enumerate((1, 2, 1)):
            kept = {"cpu_milli": 700, "gpus": gpus, "gpu_milli": 1000 if gpus == 2 else 400}
            loop.put(name=f"s{number}", replicas=6, reservations=kept, placement={"profile": profile})
        loop.settle()
        tasks = [task for number in range(3) for task in loop.state.tasks_of_service(f"s{number}")]
        found.append(sorted((task.service, task.node, task.devices) for task in tasks))
    assert found[0] == found[1] == found[2] != []


def test_what_one_plan_scores_is_bounded_and_the_next_goes_on():
    loop = machines((64_000, 64_000), (64_000, 64_000))
    loop.put(replicas=400, reservations={"cpu_milli": 100}, placement={"profile": "cosine"})
    loop.put(name="all", replicas=300, reservations={"cpu_milli": 100}, placement={"profile": "binpack"})
    assert [part.service for part in loop.next_command().plan.services] == ["web"]
    assert 2 < len(loop.settle()) < 6
    assert sum(placed(loop).values()) == 400 and sum(placed(loop, "all").values()) == 300


@pytest.mark.parametrize("profile", ["binpack", "cosine"])
def test_scores_that_are_kept_from_plan_to_plan_change_no_choice(profile):
    rng, found = random.Random(7), []
    for keeps in (False, True):
        rng.seed(7)
        loop, scores = ControlLoop(), choosing.Scores()
        for number in range(8):
            loop.add(f"n{number}", 100)
            kept = {"cpu_milli": rng.randrange(8_000, 32_000), "gpus": rng.randrange(4)}
            loop.node(f"n{number}", resources=kept)
        for step in range(30):
            kept = {"cpu_milli": rng.randrange(100, 2_000)}
            if rng.random() < 0.5:
                kept |= {"gpus": 1, "gpu_milli": rng.choice((200, 500))}
            loop.put(
                name=f"s{step % 9}",
                replicas=rng.randrange(5),
                reservations=kept,
                placement={"profile": profile},
            )
            if rng.random() < 0.2:
                loop.status(f"n{rng.randrange(8)}", rng.choice(("ready", "down")))
            if rng.random() < 0.1:
                loop.node(f"n{rng.randrange(8)}", capacity=101 + step)
            plan = plan_repair(loop.state, None, scores if keeps else choosing.Scores())
            if plan is not None:
                loop.do(c.PlaceTasks(term=1, made_at=loop.index, plan=plan))
        found.append(
            sorted(
                (t.service, t.slot, t.node, t.devices)
                for s in range(9)
                for t in loop.state.tasks_of_service(f"s{s}")
            )
        )
    assert found[0] == found[1] != []


def test_members_agree_whatever_a_plan_chose():
    loop = machines((8_000, 8_000), (8_000, 8_000))
    loop.put(replicas=5, reservations={"cpu_milli": 500}, placement={"profile": "mixed"})
    command = loop.next_command()
    assert c.encode(command) == c.encode(loop.next_command()), "the same state, the same plan"
