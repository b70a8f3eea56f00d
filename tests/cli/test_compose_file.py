"""Compose files as Compose reads them: YAML 1.2, and variables."""

from pathlib import Path

import pytest

from raftyard.cli.compose_file import WrongFile, read_yaml, with_variables


def read(tmp_path: Path, text: str):
    file = tmp_path / "a.yaml"
    file.write_text(text, encoding="utf-8")
    return read_yaml(file)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("22:22", "22:22"),
        ("on", "on"),
        ("no", "no"),
        ("true", True),
        ("8080", 8080),
        ("0.5", 0.5),
        ("1_000", "1_000"),
        ("2026-01-01", "2026-01-01"),
        ("~", None),
        ("", None),
    ],
)
def test_few_words_are_something_else_than_a_text(tmp_path, text, value):
    assert read(tmp_path, f"- a\n- {text}") == ["a", value]


def test_anchors_and_merged_keys_are_taken_and_json_too(tmp_path):
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}"
    assert read(tmp_path, text)["b"] == {"x": 1, "y": 3}
    assert read(tmp_path, '{"a": [1, "2"]}') == {"a": [1, "2"]}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\na: 2", ":2:1: the key a stands here twice"),
        ("a: [", ":1:5"),
        ("\x07", "a.yaml"),
        ("a: 1\n? [1]\n: 2", ":2:3: a key is one word"),
        ("a: &a [*a]", "Circular reference"),
        ("a: 1e400", "not JSON"),
        ("a: !!binary aGk=", "not JSON"),
    ],
)
def test_a_file_that_cannot_be_read_says_where(tmp_path, text, told):
    with pytest.raises(WrongFile) as caught:
        read(tmp_path, text)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$TAG", "2"),
        ("a:${TAG}-b", "a:2-b"),
        ("${TAG:-1}", "2"),
        ("${EMPTY:-1}", "1"),
        ("${EMPTY-1}", ""),
        ("${UNSET-1}", "1"),
        ("${TAG:+yes}", "yes"),
        ("${UNSET:+yes}", ""),
        ("$$TAG", "$TAG"),
        ("${UNSET}", ""),
    ],
)
def test_variables_are_put_in_as_compose_does(text, value):
    environ = {"TAG": "2", "EMPTY": ""}
    assert with_variables({"a": [text, 7]}, environ, {}) == {"a": [value, 7]}


def test_what_is_not_set_is_told_and_what_has_to_be_is_an_error():
    unset = {}
    with_variables({"a": "$ONE ${TWO} ${THREE:-3}"}, {}, unset)
    assert list(unset) == ["ONE", "TWO"]
    with pytest.raises(WrongFile, match=r"\$\.a: ONE is not set: name it"):
        with_variables({"a": "${ONE:?name it}"}, {}, {})
    with pytest.raises(WrongFile, match=r"write \$\$ for a dollar"):
        with_variables({"a": "5 $ a day"}, {}, {})
