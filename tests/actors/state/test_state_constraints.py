"""Rules about nodes: which nodes they let pass, and what is said of a rule that makes no sense."""

import pytest

from raftyard.actors.state.constraints import parse, read


@pytest.mark.parametrize(
    ("rule", "passes", "not_these"),
    [
        ("node.labels.zone == a", ("a", "A"), ("b", "")),
        ("node.labels.zone==a", ("a",), ("b",)),
        ("node.labels.zone != a", ("b", ""), ("a", "A")),
        ("node.labels.zone in (a, b)", ("a", "B"), ("c", "")),
        ("node.labels.disks > 3", ("4", "3.5"), ("3", "", "many", "nan")),
        ("node.labels.disks < 3", ("2", "-1"), ("3", "", "few")),
        ("node.labels.disks >= 3", ("3", "3.0", "4"), ("2", "", "many", "nan")),
        ("node.labels.disks<=3", ("3", "-1"), ("3.1", "", "few")),
        ("node.labels.zone not in (a, b)", ("c", ""), ("a", "B")),
        ("node.labels.zone  not  in (a)", ("b",), ("a",)),
        ("node.labels.zone is set", ("a", "0"), ("",)),
        ("node.labels.zone is  not set ", ("",), ("a", "0")),
        ("node.labels.is in (is, not)", ("is", "not"), ("set",)),
        ("node.platform.os == linux", ("Linux",), ("windows",)),
        ("node.name == n-1", ("n-1",), ("n-10",)),
    ],
)
def test_a_rule_lets_nodes_pass_by_their_value(rule, passes, not_these):
    parsed = read(rule)
    assert all(parsed.is_met(value) for value in passes)
    assert not any(parsed.is_met(value) for value in not_these)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("node.labels.zone", "is not a constraint"),
        ("node.labels.zone = a", "is not a constraint"),
        ("zone == a", "is no attribute of a node"),
        ("node.labels. == a", "is no attribute of a node"),
        ("node.labels.zone == ", "has no value"),
        ("node.labels.zone in (a,)", "has no value"),
        ("node.labels.disks > many", "is not a number"),
        ("node.labels.disks >= ", "has no value"),
        ("node.labels.disks >= many", "'many' is not a number, which >= compares"),
        ("node.labels.disks => 3", "is not a constraint"),
        ("node.labels.zone is set to a", "'to a' stands behind is set, which ends a constraint"),
        ("node.labels.zone not (a)", "is not a constraint"),
        ("node.labels.zone not in (a", "do not match"),
        ("node.labels.zone in (a, b", "brackets of 'node.labels.zone in .a, b' do not match"),
        ("node.labels.zone in a, b)", "do not match"),
        ("node.labels.zone in ((a, b))", "do not match"),
        ("node.labels.zone in )a(", "do not match"),
        ("node.labels.zone == " + "a" * 2_000, "a constraint has at most 2000"),
    ],
)
def test_a_rule_that_makes_no_sense_says_why(rule, words):
    with pytest.raises(ValueError, match=words):
        read(rule)


def test_a_rule_that_lacks_a_bracket_and_was_agreed_on_earlier_still_counts():
    assert parse("node.labels.zone in (a, b").values == ("a", "b")


def test_many_spaces_in_a_rule_are_looked_through_once():
    gap = " " * 300_000  # which took hours
    assert parse(f" node.labels.zone == a{gap}b{gap}").values == (f"a{gap}b",)
    assert parse(f"node.labels.zone{gap}=={gap}a{gap}").values == ("a",)
    with pytest.raises(ValueError, match="is not a constraint"):
        parse(f"node.labels.zone{gap}~ a{gap}")
