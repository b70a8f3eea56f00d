"""Settings: the environment beats .env, a wrong value names its setting, a near miss is pointed out."""

from pathlib import Path

import pytest

from raftyard.cli.settings import SettingError, Settings, load

ROOT = Path(__file__).parents[2]


def settings_of(tmp_path: Path, text: str, **environ: str) -> Settings:
    env_file = tmp_path / ".env"
    env_file.write_text(text, encoding="utf-8")
    return load(env_file, environ)


def test_without_a_file_and_an_environment_the_defaults_hold(tmp_path: Path) -> None:
    assert load(tmp_path / ".env", {}) == Settings(
        port=8000, default_host="127.0.0.1", nodes=5, capacity=100, token=None, threads=8, log_level="INFO"
    )


def test_the_example_file_holds_exactly_the_defaults() -> None:
    assert load(ROOT / ".env.example", {}) == Settings()


def test_the_file_sets_and_the_environment_beats_it(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "PORT=9000\nNODES=3\n", PORT="9100")
    assert (settings.port, settings.nodes) == (9100, 3)


def test_an_empty_value_counts_as_not_set(tmp_path: Path) -> None:
    assert settings_of(tmp_path, "PORT=\nTOKEN=\nNODES\n", CAPACITY=" ") == Settings()


def test_an_empty_environment_value_hides_the_file(tmp_path: Path) -> None:
    assert settings_of(tmp_path, "TOKEN=abc\n", TOKEN="").token is None


def test_localhost_is_the_loopback_address(tmp_path: Path) -> None:
    assert settings_of(tmp_path, "DEFAULT_HOST=LocalHost\n").default_host == "127.0.0.1"


def test_a_log_level_may_be_written_small(tmp_path: Path) -> None:
    assert settings_of(tmp_path, "LOG_LEVEL=debug\n").log_level == "DEBUG"


def test_a_token_keeps_its_dollar_sign(tmp_path: Path) -> None:
    assert settings_of(tmp_path, "TOKEN=a$HOME${HOME}b\n").token == "a$HOME${HOME}b"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("PORT", "70000", "a whole number from 1 to 65535"),
        ("PORT", "0", "a whole number from 1 to 65535"),
        ("PORT", "8_000", "a whole number from 1 to 65535"),
        ("PORT", "http", "a whole number from 1 to 65535"),
        ("NODES", "-1", "a whole number from 1 to 5000"),
        ("NODES", "2.5", "a whole number from 1 to 5000"),
        ("CAPACITY", "0", "a whole number from 1 to 1000000000"),
        ("THREADS", "many", "a whole number from 1 to 256"),
        ("DEFAULT_HOST", "::1", "an IPv4 address of this machine, such as 127.0.0.1, or localhost"),
        ("LOG_LEVEL", "loud", "one of DEBUG, INFO, WARNING, ERROR, CRITICAL"),
    ],
)
def test_a_bad_value_names_the_setting_and_what_to_do(
    tmp_path: Path, name: str, value: str, expected: str
) -> None:
    with pytest.raises(SettingError) as caught:
        settings_of(tmp_path, f"{name}={value}\n")
    assert str(caught.value) == f"{name}={value}: expected {expected}; set {name} in .env or the environment"


def test_a_bad_token_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"^TOKEN=\.\.\.: ") as caught:
        settings_of(tmp_path, "", TOKEN="two words")
    assert "two words" not in str(caught.value)


def test_the_node_ports_must_exist_too(tmp_path: Path) -> None:
    assert settings_of(tmp_path, "PORT=65530\n").port == 65530
    with pytest.raises(SettingError, match="set PORT to 65530 or less"):
        settings_of(tmp_path, "PORT=65531\n")


def test_a_large_cluster_opens_no_ports_and_needs_none(tmp_path: Path) -> None:
    assert settings_of(tmp_path, "PORT=65535\nNODES=100\n").port == 65535


def test_a_name_nearly_right_is_pointed_out_and_others_pass(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "PROT=9000\nport=9000\nNODE=3\nDATABASE_URL=x\n")
    assert settings.port == 8000
    assert [warning.split(": ", 1)[1] for warning in settings.warnings] == [
        "PROT is not a setting and is ignored; did you mean PORT?",
        "port is not a setting and is ignored; did you mean PORT?",
        "NODE is not a setting and is ignored; did you mean NODES?",
    ]


def test_the_environment_of_other_programs_gets_no_warning(tmp_path: Path) -> None:
    assert settings_of(tmp_path, "", PROT="1", HOST="x").warnings == ()


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_bytes(b"PORT=\xff\xfe\n")
    with pytest.raises(SettingError, match=r"\.env: cannot be read .* make it a readable UTF-8 text file"):
        load(env_file, {})
