"""A service's body as a spec: what is understood, and every mistake with its path and what to do."""

import pytest

from raftyard.actors.state.calls import InvalidCall
from raftyard.actors.state.node_reading import read_node
from raftyard.actors.state.spec_reading import merge, read_spec
from raftyard.actors.state.specs import HostPort, Placement, Reservations, ServiceSpec, is_same_template


def test_an_empty_body_is_one_replica_with_the_defaults():
    assert read_spec({}) == ServiceSpec()


def test_every_part_of_a_spec_is_understood_and_maps_are_put_in_order():
    spec = read_spec(
        {
            "image": "nginx:1.27",
            "command": ["nginx", "-g", "daemon off;"],
            "env": {"B": "2", "A": "1"},
            "replicas": 3,
            "reservations": {"slots": 2, "cpu_milli": 500, "memory_mib": 64, "gpus": 1, "custom": {"ssd": 1}},
            "limits": {"cpu_milli": 1000},
            "ports": [{"published": 8080, "target": 80}],
            "placement": {
                "constraints": ["node.labels.zone == a"],
                "preferences": ["node.labels.rack"],
                "max_replicas_per_node": 2,
                "platforms": [{"os": "linux"}],
            },
        }
    )
    assert list(spec.env) == ["A", "B"]
    assert spec.reservations == Reservations(slots=2, cpu_milli=500, memory_mib=64, gpus=1, custom={"ssd": 1})
    assert spec.ports == (HostPort(published=8080, target=80),)


@pytest.mark.parametrize(
    ("body", "path", "words"),
    [
        ([], "$", "expected an object"),
        ({"imgae": "x"}, "$.imgae", "did you mean image?"),
        ({"reservations": {"cpu_mili": 1}}, "$.reservations.cpu_mili", "did you mean cpu_milli?"),
        ({"ports": [{"port": 1}]}, "$.ports[0].port", "the fields here are published"),
        ({"limits": {"xyz": 1}}, "$.limits.xyz", "the fields here are cpu_milli, memory_mib"),
        ({"replicas": -1}, "$.replicas", "too small"),
        ({"priority": -(10**310)}, "$.priority", "the number is too small"),
        ({"autoscale": {"max": 10**310, "target": 5}}, "$.autoscale.max", "the number is too large"),
        ({"autoscale": {"max": 5, "target": 1e-300, "metric": "x"}}, "$.autoscale.target", "1e-300 cannot be aimed"),
        ({"force_update": 10**30}, "$.force_update", "too large"),
        ({"replicas": "3"}, "$.replicas", "Expected `int`"),
        ({"replicas": "3"}, "$.replicas", "write a whole number"),
        ({"env": {"A": "1", "B": 2}}, "$.env.B", "write it in double quotes"),
        ({"command": "serve"}, "$.command", 'write a list, for example ["text"]'),
        ({"restart": "always"}, "$.restart", "its fields are condition, delay_s"),
        ({"ports": [{"target": 80}]}, "$.ports[0]", 'add "published"; write a whole number'),
        ({"depends_on": ["db"]}, "$.depends_on", 'for example {"name": "started"}'),
        ({"depends_on": {"db": "helthy"}}, "$.depends_on.db", "did you mean healthy?"),
        ({"depends_on": {"db": "up"}}, "$.depends_on.db", "use started, healthy, completed"),
        ({"reservations": {"custom": {"ssd": "x"}}}, "$.reservations.custom.ssd", "a whole number"),
        ({"simulate": {"demand": {"cpu": [{"after": 1}]}}}, "$.simulate.demand.cpu[0].after", "did you mean after_s?"),
        ({"mode": "globl"}, "$.mode", "Invalid enum value"),
        ({"mode": "global", "replicas": 3}, "$.replicas", "leave it out"),
        ({"mode": "global", "replicas": 3}, "$.replicas", 'send "replicas": null'),
        ({"reservations": {"slots": 0}}, "$.reservations.slots", "too small"),
        ({"reservations": {"gpus": 33}}, "$.reservations.gpus", "too large"),
        ({"reservations": {"gpus": 1, "gpu_milli": 0}}, "$.reservations.gpu_milli", "too small"),
        ({"reservations": {"gpus": 1, "gpu_milli": 1001}}, "$.reservations.gpu_milli", "too large"),
        ({"reservations": {"gpu_milli": 500}}, "$.reservations.gpu_milli", "no GPUs are reserved"),
        ({"reservations": {"gpu_models": ["T4"]}}, "$.reservations.gpu_models", "no GPUs are reserved"),
        ({"reservations": {"gpus": 1, "gpu_models": [""]}}, "$.reservations.gpu_models[0]", "names no model"),
        ({"reservations": {"gpus": 1, "gpu_mili": 5}}, "$.reservations.gpu_mili", "did you mean gpu_milli?"),
        ({"reservations": {"custom": {"cpu": 1}}}, "$.reservations.custom.cpu", "did you mean cpu_milli, in thousand"),
        ({"reservations": {"custom": {"gpus": 1}}}, "$.reservations.custom.gpus", "another name"),
        ({"reservations": {"memory_mib": 9}, "limits": {"memory_mib": 8}}, "$.limits.memory_mib", "below"),
        ({"ports": [{"published": 1}, {"published": 1}]}, "$.ports", "twice"),
        ({"ports": [{"published": 70_000}]}, "$.ports[0].published", "too large"),
        ({"placement": {"constraints": ["zone == a"]}}, "$.placement.constraints[0]", "no attribute"),
        ({"placement": {"constraints": ["node.name in (a, b"]}}, "$.placement.constraints[0]", "brackets"),
        ({"placement": {"profile": "binpak"}}, "$.placement.profile", "did you mean binpack?"),
        ({"placement": {"affinities": [{"weight": 5}]}}, "$.placement.affinities[0]", "a constraint or to a service"),
        (
            {"placement": {"affinities": [{"constraint": "node.name == a", "service": "b", "weight": 5}]}},
            "$.placement.affinities[0]",
            "to a constraint or to a service",
        ),
        (
            {"placement": {"affinities": [{"service": "b", "weight": 101}]}},
            "$.placement.affinities[0].weight",
            "a weight of 101",
        ),
        (
            {"placement": {"affinities": [{"service": "b"}]}},
            "$.placement.affinities[0].weight",
            "a weight of 0",
        ),
        (
            {"placement": {"affinities": [{"constraint": "zone == a", "weight": 5}]}},
            "$.placement.affinities[0].constraint",
            "no attribute",
        ),
        (
            {"placement": {"affinities": [{"wait": 5}]}},
            "$.placement.affinities[0].wait",
            "did you mean weight?",
        ),
        ({"placement": {"preferences": ["zone"]}}, "$.placement.preferences[0]", "no attribute"),
    ],
)
def test_a_mistake_is_named_with_its_path_and_what_to_do(body, path, words):
    with pytest.raises(InvalidCall) as caught:
        read_spec(body)
    assert caught.value.path == path
    assert words in str(caught.value)
    assert caught.value.hint


def test_a_name_that_cannot_stand_in_a_url_is_refused():
    with pytest.raises(InvalidCall) as caught:
        read_spec({}, name="a b")
    assert caught.value.path == "$.name"


def test_a_service_is_not_near_itself():
    body = {"placement": {"affinities": [{"service": "web", "weight": -5}]}}
    with pytest.raises(InvalidCall) as caught:
        read_spec(body, name="web")
    assert caught.value.path == "$.placement.affinities[0].service"
    assert read_spec(body, name="other").placement.affinities[0].weight == -5


def test_a_patch_merges_objects_replaces_the_rest_and_null_takes_away():
    spec = ServiceSpec(image="a", replicas=3, env={"A": "1", "B": "2"}, placement=Placement(max_replicas_per_node=2))
    body = merge(spec, {"replicas": 5, "env": {"A": None, "C": "3"}, "placement": None})
    assert read_spec(body) == ServiceSpec(image="a", replicas=5, env={"B": "2", "C": "3"})
    with pytest.raises(InvalidCall):
        merge(spec, ["replicas"])


@pytest.mark.parametrize(
    ("patch", "path", "words"),
    [
        ({"placment": None}, "$.placment", "did you mean placement?"),
        ({"restart": {"dela_s": None}}, "$.restart.dela_s", "did you mean delay_s?"),
        ({"autoscale": {"maxx": None, "max": 5, "target": 5, "metric": "x"}}, "$.autoscale.maxx", "did you mean max?"),
    ],
)
def test_a_patch_that_takes_away_what_is_no_field_is_told_the_right_word(patch, path, words):
    with pytest.raises(InvalidCall) as caught:
        read_spec(merge(ServiceSpec(image="a", env={"A": "1"}), {"env": {"B.c": None}, **patch}))
    assert caught.value.path == path and words in caught.value.hint


def test_only_what_a_replica_is_made_from_replaces_it():
    spec = ServiceSpec(image="a")
    assert is_same_template(spec, ServiceSpec(image="a", replicas=9, labels={"x": "y"}, description="d"))
    assert is_same_template(spec, ServiceSpec(image="a", placement=Placement(max_replicas_per_node=1)))
    assert not is_same_template(spec, ServiceSpec(image="b"))
    assert not is_same_template(spec, ServiceSpec(image="a", reservations=Reservations(cpu_milli=1)))


def test_a_node_is_told_to_drain_gently():
    command = read_node("n0", {"availability": "drain", "drain": {"max_parallel": 2, "deadline_s": 60}})
    assert (command.availability, command.drain_parallel, command.drain_deadline_s) == ("drain", 2, 60.0)
    assert command.labels is None


def test_a_custom_resource_may_have_any_name_that_is_not_nearly_one_of_ours():
    names = ("ssd", "fpgas", "tpus", "vgpus", "licences", "memory_bandwidth", "cpu_cache")
    assert set(read_node("n0", {"resources": dict.fromkeys(names, 1)}).resources) == set(names)


@pytest.mark.parametrize(
    ("body", "path", "words"),
    [
        ("drain", "$", "expected an object"),
        ({"availability": "drained"}, "$.availability", "Invalid enum value"),
        ({"avalability": "drain"}, "$.avalability", "did you mean availability?"),
        ({"drain": {"max_parallel": 1}}, "$.drain", 'add "availability": "drain"'),
        ({"availability": "drain", "drain": {"max_parallel": -1}}, "$.drain", "0 or more"),
        ({"resources": {"slots": 3}}, "$.resources.slots", "another name"),
        ({"labels": {"a": 1}}, "$.labels.a", "write it in double quotes"),
        ({"platform": "linux"}, "$.platform", "its fields are os, arch"),
        ({"resources": {"cpu": 4}}, "$.resources.cpu", "did you mean cpu_milli, in thousandths of a processor?"),
        ({"resources": {"memory": 64}}, "$.resources.memory", "did you mean memory_mib, in MiB?"),
        ({"resources": {"GPU": 1}}, "$.resources.GPU", "did you mean gpus, in whole devices?"),
        ({"resources": {"cpu_mili": 4}}, "$.resources.cpu_mili", "did you mean cpu_milli"),
        ({"labels": {"": "x"}}, "$.labels", "cannot name a label"),
        ({"labels": {"the zone": "x"}}, "$.labels", "no blanks"),
        ({"resources": {"gpus": -1}}, "$.resources.gpus", "use 0 to"),
        ({"resources": {"gpus": 33}}, "$.resources.gpus", "use 0 to 32"),
        ({"gpu_model": "x" * 101}, "$.gpu_model", "too long"),
        ({"gpu_modle": "A100"}, "$.gpu_modle", "did you mean gpu_model?"),
        ({"capacity": -1}, "$.capacity", "use 0 to"),
    ],
)
def test_a_mistake_about_a_node_is_named_too(body, path, words):
    with pytest.raises(InvalidCall) as caught:
        read_node("n0", body)
    assert caught.value.path == path
    assert words in str(caught.value)
