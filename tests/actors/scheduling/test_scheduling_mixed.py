"""Replicas of all kinds on nodes with several resources and GPUs: what must hold, and a slow oracle beside it."""

import random
from math import floor, sqrt

import numpy as np
import pytest

from raftyard.actors.errors import InvalidRequest
from raftyard.actors.scheduling import PROFILES, Fleet, Placed, Placer, Reservation, Unplaced
from raftyard.actors.scheduling.demand import COVERED, DRIFT, KINDS, LOOK
from raftyard.actors.scheduling.mixed import STEP_MILLI, STEPS

COLUMNS = ("cpu_milli", "memory_mib")
MODELS = ("K9", "M2")


def some_fleet(rng):
    nodes = rng.randrange(1, 10)
    kinds = [
        (
            rng.choice([4, 8, 16, 64]) * 1000,
            rng.choice([8, 32, 256]) * 1024,
            rng.choice([0, 1, 2, 4, 8]),
            model,
        )
        for model in MODELS
        for _ in range(2)
    ]
    rows = [rng.choice(kinds) for _ in range(nodes)]
    return Fleet(
        COLUMNS,
        np.array([row[:2] for row in rows]),
        np.array([row[2] for row in rows]),
        [row[3] for row in rows],
    )


def some_kinds(rng):
    def one():
        gpus = rng.choice([0, 1, 1, 1, 1, 2, 4])
        share = rng.choice([50, 160, 230, 320, 470, 470, 500, 650, 810])
        return Reservation(
            amounts=(rng.randrange(0, 9000), rng.randrange(0, 20_000)),
            gpus=gpus,
            gpu_milli=share
            if (gpus == 1 and rng.random() < 0.6) or (gpus == 2 and rng.random() < 0.3)
            else 1000,
            models=rng.choice([(), (), (), ("K9",), ("M2", "K9"), ("none",)]),
        )

    return [one() for _ in range(rng.randrange(1, 12))]


def story(seed, profile, *, steps=120, forgets=False):
    """Random placing, removing, closing and opening: (placer, what is there, everything that was answered)."""
    rng = random.Random(seed)
    fleet, kinds = some_fleet(rng), some_kinds(rng)
    placer = Placer(fleet, profile)
    there, answers = [], []
    for _ in range(steps):
        if forgets:
            placer.forget()
        chance = rng.random()
        if chance < 0.12 and there:
            wanted, placed, service = there.pop(rng.randrange(len(there)))
            placer.remove(wanted, placed, service=service)
        elif chance < 0.17:
            fleet.set_open(rng.randrange(len(fleet)), rng.random() < 0.6)
        else:
            wanted, service = rng.choice(kinds), rng.choice(["", "web", "db"])
            answer = placer.place(wanted, service=service)
            answers.append((wanted, service, answer))
            if isinstance(answer, Placed):
                there.append((wanted, answer, service))
    return placer, there, answers


@pytest.mark.parametrize("profile", PROFILES)
def test_no_node_and_no_device_holds_more_than_it_has(profile):
    for seed in range(25):
        placer, there, _ = story(seed, profile)
        fleet = placer.fleet
        used, shares = np.zeros_like(fleet.capacity), np.zeros_like(fleet.gpu_capacity)
        for wanted, placed, _ in there:
            used[placed.node] += wanted.amounts
            assert len(set(placed.devices)) == wanted.gpus, f"seed {seed}"
            for device in placed.devices:
                shares[placed.node, device] += wanted.gpu_milli
            assert not wanted.gpus or not wanted.models or fleet.models[placed.node] in wanted.models
        assert (used + fleet.free == fleet.capacity).all(), f"seed {seed}"
        assert (shares + fleet.gpu_free == fleet.gpu_capacity).all(), f"seed {seed}"
        assert min(fleet.free.min(), fleet.gpu_free.min(initial=0)) >= 0, f"seed {seed}"


def test_a_whole_gpu_is_a_device_that_nobody_else_uses_and_a_share_stays_on_one():
    for seed in range(25):
        _, there, _ = story(seed, "mixed")
        users = {}
        for wanted, placed, _ in there:
            for device in placed.devices:
                users.setdefault((placed.node, device), []).append(wanted.gpu_milli)
        assert all(sum(milli) <= 1000 and (1000 not in milli or milli == [1000]) for milli in users.values())


@pytest.mark.parametrize("profile", PROFILES)
def test_kept_scores_change_nothing_and_the_same_story_ends_the_same(profile):
    for seed in range(25):
        _, _, answers = story(seed, profile)
        assert story(seed, profile)[2] == answers, f"seed {seed}"
        assert story(seed, profile, forgets=True)[2] == answers, f"seed {seed}"


@pytest.mark.parametrize("profile", PROFILES)
def test_a_replica_waits_only_where_no_open_node_has_room_and_every_node_is_told_why(profile):
    for seed in range(25):
        rng = random.Random(seed)
        fleet, kinds = some_fleet(rng), some_kinds(rng)
        placer = Placer(fleet, profile)
        for _ in range(80):
            fleet.set_open(rng.randrange(len(fleet)), rng.random() < 0.7)
            wanted = rng.choice(kinds)
            has_room = any(takes(fleet, wanted, node) for node in range(len(fleet)))
            answer = placer.place(wanted)
            assert isinstance(answer, Placed) == has_room, f"seed {seed}"
            if isinstance(answer, Unplaced):
                assert sum(count for _, count in answer.reasons) == len(fleet), f"seed {seed}"


def takes(fleet, wanted, node):
    fitting = [free for free in fleet.gpu_free[node].tolist() if free >= wanted.gpu_milli]
    any_model = not wanted.gpus or not wanted.models
    return (
        bool(fleet.is_open[node])
        and all(
            free >= amount for free, amount in zip(fleet.free[node].tolist(), wanted.amounts, strict=True)
        )
        and len(fitting) >= wanted.gpus
        and (any_model or fleet.models[node] in wanted.models)
    )


# The oracle of `mixed`: one node, one device, one kind at a time, with whole numbers only but for the cosine.


class Oracle:
    def __init__(self, fleet):
        self.fleet, self.counts, self.last, self.seen, self.look_at = fleet, {}, {}, 0, 1

    def arrived(self, wanted):
        if wanted.gpus:
            self.counts[wanted] = self.counts.get(wanted, 0) + 1
            self.seen += 1
            if self.seen == self.look_at:
                self.look_at = min(2 * self.seen, self.seen + LOOK)
                was, now = sum(self.last.values()), self.seen
                if not was or DRIFT < 0.5 * sum(
                    abs(count / now - self.last.get(kind, 0) / was) for kind, count in self.counts.items()
                ):
                    self.last = dict(self.counts)

    def mix(self):
        weighed = [(count * round(10 * kind.gpus**0.75), kind) for kind, count in self.last.items()]
        weighed.sort(key=lambda item: -item[0])
        total, taken, mix = sum(weight for weight, _ in weighed), 0, []
        while weighed and taken < COVERED * total and len(mix) < KINDS:
            mix.append(weighed.pop(0))
            taken += mix[-1][0]
        return mix

    def usable(self, mix, free, gpu_free, model):
        value = 0
        for weight, kind in mix:
            devices = [milli for milli in gpu_free if milli >= kind.gpu_milli]
            if (
                all(have >= amount for have, amount in zip(free, kind.amounts, strict=True))
                and len(devices) >= kind.gpus
                and (not kind.models or model in kind.models)
            ):
                value += weight * sum(devices)
        return value

    def best(self, wanted):
        fleet, mix = self.fleet, self.mix()
        total = sum(weight for weight, _ in mix)
        best = None
        for node in range(len(fleet)):
            if not takes(fleet, wanted, node):
                continue
            free, gpus = fleet.free[node].tolist(), fleet.gpu_free[node].tolist()
            left = [have - amount for have, amount in zip(free, wanted.amounts, strict=True)]
            before = self.usable(mix, free, gpus, fleet.models[node])
            fitting = sorted(
                (milli, device) for device, milli in enumerate(gpus) if milli >= wanted.gpu_milli
            )
            if wanted.gpus == 1 and wanted.gpu_milli < 1000:
                choices = [(device,) for _, device in sorted(fitting, key=lambda item: item[1])]
            else:
                choices = [tuple(sorted(device for _, device in fitting[: wanted.gpus]))]
            after = []
            for devices in choices:
                rest = [milli - wanted.gpu_milli * (device in devices) for device, milli in enumerate(gpus)]
                after.append(self.usable(mix, left, rest, fleet.models[node]))
            gain = max(after) - before
            score = STEP_MILLI * floor(STEPS * self.cosine(wanted, free, gpus)) + (
                gain // total if total else 0
            )
            if best is None or score > best[0]:
                best = (score, node, choices[after.index(max(after))])
        return best

    def cosine(self, wanted, free, gpus):
        most = [1000.0 * max(1, int(self.fleet.devices.max()))]
        most += [float(max(1, amount)) for amount in self.fleet.capacity.max(axis=0).tolist()]
        have = [amount / scale for amount, scale in zip([sum(gpus), *free], most, strict=True)]
        want = [amount / scale for amount, scale in zip([wanted.milli, *wanted.amounts], most, strict=True)]
        size = sum(a * a for a in have) * sum(a * a for a in want)
        return sum(a * b for a, b in zip(have, want, strict=True)) / sqrt(size) if size else 0


def test_mixed_chooses_what_the_slow_oracle_chooses():
    for seed in range(50):
        rng = random.Random(seed)
        fleet, kinds = some_fleet(rng), some_kinds(rng)
        placer, oracle, there = Placer(fleet, "mixed"), Oracle(fleet), []
        for step in range(160):
            if there and rng.random() < 0.2:
                placer.remove(*there.pop(rng.randrange(len(there))))
                continue
            wanted = rng.choice(kinds)
            oracle.arrived(wanted)
            best = oracle.best(wanted)
            answer = placer.place(wanted)
            if best is None:
                assert isinstance(answer, Unplaced), f"seed {seed}, step {step}"
            else:
                assert answer == Placed(node=best[1], devices=best[2]), f"seed {seed}, step {step}"
                there.append((wanted, answer))


def two_nodes(**changes):
    return Fleet(
        **{
            "columns": COLUMNS,
            "capacity": np.array([[8000, 8192], [8000, 8192]]),
            "devices": np.array([2, 2]),
            **changes,
        }
    )


SMALL = Reservation(amounts=(1000, 1024))


def test_spread_takes_the_node_with_fewest_tasks_of_the_service_then_of_all():
    placer = Placer(two_nodes(capacity=np.array([[8000, 8192]] * 3), devices=None))
    nodes = [placer.place(SMALL, service=name).node for name in ("a", "b", "b", "a", "b", "c")]
    assert nodes == [0, 1, 2, 1, 0, 2]


def test_binpack_fills_a_node_before_it_opens_the_next():
    placer = Placer(two_nodes(), "binpack")
    assert [placer.place(SMALL).node for _ in range(10)] == [0] * 8 + [1] * 2


def test_cosine_keeps_the_columns_in_proportion():
    placer = Placer(two_nodes(capacity=np.array([[8000, 1024], [1000, 8192]])), "cosine")
    much_cpu, much_memory = Reservation(amounts=(900, 100)), Reservation(amounts=(100, 900))
    assert (placer.place(much_cpu).node, placer.place(much_memory).node) == (0, 1)


def test_mixed_fills_a_begun_device_and_keeps_whole_ones_for_those_who_need_them():
    placer = Placer(two_nodes(), "mixed")
    pair = Reservation(amounts=(100, 100), gpus=2)
    half = Reservation(amounts=(100, 100), gpus=1, gpu_milli=500)
    for _ in range(2):
        placer.remove(pair, placer.place(pair))
    places = [placer.place(half) for _ in range(2)]
    assert places[0] == places[1]
    assert isinstance(placer.place(pair), Placed)


def test_what_waits_says_how_many_nodes_lack_what():
    fleet = two_nodes(
        capacity=np.array([[500, 8192], [8000, 8192], [8000, 9000]]), devices=np.array([2, 1, 0])
    )
    fleet.set_open(2, False)
    answer = Placer(fleet).place(Reservation(amounts=(1000, 1024), gpus=2))
    assert str(answer) == (
        "no suitable node (closed on 1 node; too little cpu_milli on 1 node; fewer than 2 whole GPUs on 1 node)"
    )
    nobody = Placer(Fleet(COLUMNS, np.zeros((0, 2)))).place(SMALL)
    assert str(nobody) == "no suitable node (there is none)"


def test_a_batch_answers_in_the_order_given_and_places_the_large_first():
    placer = Placer(two_nodes(), "mixed")
    share = Reservation(amounts=(100, 100), gpus=1, gpu_milli=600)
    pair = Reservation(amounts=(100, 100), gpus=2)
    answers = placer.place_all([share, share, SMALL, pair, share])
    assert [isinstance(answer, Placed) for answer in answers] == [True, True, True, True, False]
    lean = Reservation(amounts=(50, 50), gpus=1, gpu_milli=600)
    large = Reservation(amounts=(2000, 1024))
    assert placer.order_of([share, SMALL, lean, pair, large]) == [3, 2, 0, 4, 1]


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [
        (Reservation(amounts=(1,)), "give one amount for each of cpu_milli, memory_mib"),
        (Reservation(amounts=(1, -1)), "write 0 for what is not needed"),
        (Reservation(amounts=(1, 1), gpus=1, gpu_milli=1001), "1 to 1000"),
    ],
)
def test_a_reservation_that_no_node_could_ever_hold_by_its_form_is_refused(wanted, hint):
    with pytest.raises(InvalidRequest) as error:
        Placer(two_nodes()).place(wanted)
    assert hint in error.value.hint


def test_columns_that_do_not_fit_together_are_refused():
    with pytest.raises(ValueError, match="give one of each a node"):
        two_nodes(devices=np.array([1]))
    with pytest.raises(ValueError, match="write 0"):
        two_nodes(devices=np.array([1, -1]))


def test_old_arrivals_count_less_than_new_ones(monkeypatch):
    monkeypatch.setattr("raftyard.actors.scheduling.demand.MEMORY", 64)
    placer = Placer(two_nodes(), "mixed")
    old = Reservation(amounts=(1, 1), gpus=2)
    new = Reservation(amounts=(1, 1), gpus=1, gpu_milli=300)
    for wanted in [old] * 200 + [new] * 400:
        placer.profile.arrived(wanted)
    mix = placer.profile._demand.mix
    assert mix.singles == 1
    # Two thirds of all were new, but the last 64 were all new; a mix may lag behind by its drift.
    assert mix.weights[:, 0].sum() > 4 * mix.weights[:, 1:].sum()


def test_a_kind_that_comes_again_is_scored_only_on_nodes_that_changed():
    placer = Placer(two_nodes(capacity=np.array([[8000, 8192]] * 5), devices=np.array([2] * 5)), "mixed")
    half = Reservation(amounts=(100, 100), gpus=1, gpu_milli=500)
    asked, scores = [], placer.profile.scores
    placer.profile.scores = lambda wanted, nodes: (
        asked.append((wanted, nodes.tolist())),
        scores(wanted, nodes),
    )[1]
    placer.place(half)  # the first of its sort: the mix is new
    placer.place(SMALL)
    placer.fleet.set_open(4, True)
    placer.place(half)
    assert asked[0] == (half, [0, 1, 2, 3, 4])
    assert asked[-1][0] == half
    assert 4 in asked[-1][1]
    assert len(asked[-1][1]) < 5


def test_the_scores_of_only_so_many_kinds_are_kept(monkeypatch):
    monkeypatch.setattr("raftyard.actors.scheduling.placer.KINDS_KEPT", 2)
    _, _, answers = story(7, "mixed")
    monkeypatch.undo()
    assert story(7, "mixed")[2] == answers
