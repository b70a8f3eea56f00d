"""Compose documents, read into specs: what is understood, what is ignored and told, what is wrong."""

import msgspec
import pytest

from raftyard.actors.state.calls import InvalidCall
from raftyard.actors.state.compose_reading import read_stack


def read(service, **others):
    """The one service's spec, without its defaults."""
    stack = read_stack("shop", {"services": {"web": service, **others}})
    return msgspec.json.decode(msgspec.json.encode(stack.services[0][1]))


def ignored(document):
    return {one.path: one.message for one in read_stack("shop", document).ignored}


def mistake(service, **others):
    with pytest.raises(InvalidCall) as caught:
        read(service, **others)
    return caught.value


@pytest.mark.parametrize(
    ("waits", "path", "told"),
    [
        ({"web": ["db"], "db": ["web"]}, "$.services.web.depends_on", "web waits for db, db waits for web: none"),
        ({"web": ["db"], "db": ["mq"], "mq": ["db"]}, "$.services.db.depends_on", "db waits for mq, mq waits for db"),
        ({"web": ["web"]}, "$.services.web.depends_on", "wait for itself"),
    ],
)
def test_services_that_wait_for_each_other_are_refused_with_the_circle(waits, path, told):
    with pytest.raises(InvalidCall) as caught:
        read_stack("shop", {"services": {n: {"image": "x", "depends_on": o} for n, o in waits.items()}})
    assert caught.value.path.startswith(path) and told in caught.value.message


def test_services_that_wait_for_the_same_one_are_no_circle():
    waits = {"web": ["db", "mq"], "mq": ["db"], "db": []}
    read_stack("shop", {"services": {n: {"image": "x", "depends_on": o} for n, o in waits.items()}})


WHOLE = {
    "image": "nginx:1.27",
    "command": "serve --name 'a b'",
    "environment": ["MODE=fast", "EMPTY"],
    "labels": {"team": "shop"},
    "ports": ["8080:80", "53:53/udp", {"target": 443, "published": "8443"}],
    "depends_on": {"db": {"condition": "service_healthy"}},
    "deploy": {
        "mode": "replicated",
        "replicas": 6,
        "labels": ["tier=front"],
        "resources": {
            "reservations": {
                "cpus": "0.25",
                "memory": "512M",
                "devices": [{"capabilities": ["gpu"], "count": 2}],
                "generic_resources": [{"discrete_resource_spec": {"kind": "ssd", "value": 1}}],
            },
            "limits": {"cpus": 1.5, "memory": "1g"},
        },
        "placement": {
            "constraints": ["node.labels.zone == a"],
            "preferences": [{"spread": "node.labels.rack"}],
            "max_replicas_per_node": 2,
        },
        "update_config": {
            "parallelism": 2,
            "delay": "1m30s",
            "monitor": "500ms",
            "failure_action": "rollback",
            "max_failure_ratio": 0.1,
            "order": "start-first",
        },
        "rollback_config": {"parallelism": 0},
        "restart_policy": {"condition": "on-failure", "delay": "10s", "max_attempts": 3, "window": "2m"},
    },
}


def test_all_that_compose_says_of_a_service_becomes_its_spec():
    assert read(WHOLE, db={"image": "postgres"}) == {
        "replicas": 6,
        "image": "nginx:1.27",
        "command": ["serve", "--name", "a b"],
        "env": {"EMPTY": "", "MODE": "fast"},
        "labels": {"team": "shop", "tier": "front"},
        "reservations": {"cpu_milli": 250, "memory_mib": 512, "gpus": 2, "custom": {"ssd": 1}},
        "limits": {"cpu_milli": 1500, "memory_mib": 1024},
        "ports": [
            {"published": 8080, "target": 80},
            {"published": 53, "target": 53, "protocol": "udp"},
            {"published": 8443, "target": 443},
        ],
        "placement": {
            "constraints": ["node.labels.zone == a"],
            "preferences": ["node.labels.rack"],
            "max_replicas_per_node": 2,
        },
        "restart": {"condition": "on-failure", "delay_s": 10.0, "max_attempts": 3, "window_s": 120.0},
        "depends_on": {"shop_db": "healthy"},
        "update": {
            "parallelism": 2,
            "delay_s": 90.0,
            "monitor_s": 0.5,
            "max_failure_ratio": 0.1,
            "failure_action": "rollback",
            "order": "start-first",
        },
        "rollback": {"parallelism": 0},
    }


def test_services_are_called_by_their_stack_and_stand_in_the_document_s_order():
    stack = read_stack("shop", {"services": {"web": {}, "db": None}})
    assert [name for name, _ in stack.services] == ["shop_web", "shop_db"]


def test_a_list_of_dependencies_waits_until_each_has_started():
    services = {"web": {"depends_on": ["db", "cache"]}, "db": {}, "cache": {}}
    spec = read_stack("shop", {"services": services}).services[0][1]
    assert spec.depends_on == {"shop_db": "started", "shop_cache": "started"}


@pytest.mark.parametrize(
    ("written", "mib"), [("64m", 64), ("64MB", 64), ("1.5g", 1536), (1, 1), ("1048577", 2), ("300k", 1), ("2b", 1)]
)
def test_sizes_are_whole_mebibytes_rounded_up(written, mib):
    spec = read({"deploy": {"resources": {"limits": {"memory": written}}}})
    assert spec["limits"] == {"memory_mib": mib}


@pytest.mark.parametrize(
    ("written", "seconds"), [("10s", 10), ("1h2m3s", 3723), ("250ms", 0.25), ("1.5m", 90), ("5us", 5e-6)]
)
def test_durations_are_written_as_in_compose(written, seconds):
    spec = read({"deploy": {"update_config": {"delay": written}}})
    assert spec["update"]["delay_s"] == pytest.approx(seconds)


def test_what_compose_has_no_word_for_stands_under_a_key_of_ours():
    spec = read({"image": "a", "x-raftyard": {"reservations": {"slots": 3}, "simulate": {"start_s": 2}}})
    assert spec == {"image": "a", "reservations": {"slots": 3}, "simulate": {"start_s": 2.0}}
    wrong = mistake({"x-raftyard": {"reservations": {"slots": 0}}})
    assert wrong.path == "$.services.web.x-raftyard.reservations.slots"


def test_ranges_of_ports_are_published_one_for_one():
    assert [port["published"] for port in read({"ports": ["9000-9002:80-82"]})["ports"]] == [9000, 9001, 9002]


def test_what_means_nothing_here_is_ignored_and_told_with_its_path():
    found = ignored(
        {
            "version": "3.8",
            "x-common": {},
            "networks": {"front": {}},
            "services": {
                "web": {
                    "image": "a",
                    "build": ".",
                    "restart": "always",
                    "ports": ["80", "127.0.0.1:8080:80"],
                    "deploy": {"endpoint_mode": "vip", "resources": {"limits": {"pids": 9}}},
                }
            },
        }
    )
    assert list(found) == [
        "$.version",
        "$.x-common",
        "$.networks",
        "$.services.web.build",
        "$.services.web.restart",
        "$.services.web.ports[0]",
        "$.services.web.ports[1].host_ip",
        "$.services.web.deploy.endpoint_mode",
        "$.services.web.deploy.resources.limits.pids",
    ]
    assert "deploy.restart_policy" in found["$.services.web.restart"]
    assert all(message.startswith("ignored: ") for message in found.values())


@pytest.mark.parametrize(
    ("service", "path", "hint"),
    [
        ({"imgae": "a"}, "imgae", "did you mean image?"),
        ({"deploy": {"replica": 3}}, "deploy.replica", "did you mean replicas?"),
        ({"deploy": {"replicas": "three"}}, "deploy.replicas", "for example 3"),
        ({"deploy": {"replicas": -1}}, "deploy.replicas", ""),
        ({"deploy": {"mode": "globl"}}, "deploy.mode", ""),
        ({"deploy": {"mode": "global", "replicas": 2}}, "deploy.replicas", "leave it out"),
        ({"deploy": {"update_config": {"delay": 10}}}, "deploy.update_config.delay", "say the unit: 10s"),
        ({"deploy": {"update_config": {"delay": "soon"}}}, "deploy.update_config.delay", "10s"),
        ({"deploy": {"update_config": {"order": "new-first"}}}, "deploy.update_config.order", ""),
        (
            {"deploy": {"resources": {"limits": {"memory": "much"}}}},
            "deploy.resources.limits.memory",
            "512M",
        ),
        ({"deploy": {"resources": {"reservation": {}}}}, "deploy.resources.reservation", "reservations?"),
        (
            {"deploy": {"resources": {"reservations": {"devices": [{"capabilities": ["gpu"], "count": "all"}]}}}},
            "deploy.resources.reservations.devices[0].count",
            "how many",
        ),
        (
            {"deploy": {"placement": {"constraints": ["node.labels.zone ~ a"]}}},
            "deploy.placement.constraints[0]",
            "",
        ),
        ({"depends_on": ["dbb"]}, "depends_on", "did you mean db?"),
        ({"depends_on": {"db": {"condition": "healthy"}}}, "depends_on.db.condition", "service_healthy"),
        ({"ports": ["eighty"]}, "ports[0]", "8080:80"),
        ({"ports": ["80-81:90-92"]}, "ports[0]", "one for one"),
        ({"ports": ["1000-2999:1000-4999"]}, "ports[0]", "at most 1000"),
        ({"ports": ["10000-20000:10000-20000/udp"]}, "ports[0]", "at most 1000"),
        ({"ports": ["8002-8000:82-80"]}, "ports[0]", "write 8000-8002"),
        ({"ports": ["9" * 5_000 + ":80"]}, "ports[0]", "65535"),
        ({"deploy": {"resources": {"limits": {"memory": "9" * 400}}}}, "deploy.resources.limits.memory", "512M"),
        ({"deploy": {"resources": {"limits": {"cpus": "9" * 400}}}}, "deploy.resources.limits.cpus", "0.5"),
        ({"deploy": {"update_config": {"delay": "1" * 500_000}}}, "deploy.update_config.delay", "1m30s"),
        ({"ports": [{"published": 99999, "target": 1}]}, "ports[0].published", ""),
        ({"environment": [{"A": 1}]}, "environment[0]", "quotes"),
        ({"command": "a 'b"}, "command", "as a list"),
        ({"labels": {"a": [1]}}, "labels.a", "quotes"),
        ("nginx", "", "key: value"),
    ],
)
def test_what_is_wrong_is_told_with_its_path_and_the_nearest_right_word(service, path, hint):
    wrong = mistake(service, db={})
    assert wrong.path == f"$.services.web.{path}".removesuffix(".")
    assert hint in wrong.hint
    assert wrong.hint


@pytest.mark.parametrize("document", [None, [], {}, {"services": {}}, {"services": []}, {"servces": {"a": {}}}])
def test_a_document_without_services_is_no_stack(document):
    with pytest.raises(InvalidCall) as caught:
        read_stack("shop", document)
    assert caught.value.path in ("$", "$.services", "$.servces")


def test_a_name_that_cannot_stand_in_a_url_is_refused_where_it_stands():
    with pytest.raises(InvalidCall) as caught:
        read_stack("shop", {"services": {"a b": {}}})
    assert caught.value.path == "$.services.a b"
