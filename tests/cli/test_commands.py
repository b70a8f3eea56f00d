"""The command line itself: help, version, and wrong usage, without a server."""

import click.testing
import pytest

from raftyard.actors.messages import NodeSpec
from raftyard.actors.orchestrator import OrchestratorSettings
from raftyard.cli import main, serve
from raftyard.cli.settings import Settings


def run(*arguments: str) -> click.testing.Result:
    return click.testing.CliRunner().invoke(main, arguments)


def test_help_says_what_it_is_and_names_the_commands() -> None:
    shown = run("--help")
    assert shown.exit_code == 0
    assert "container orchestrator" in shown.output
    assert "serve" in shown.output


def test_the_help_of_serve_names_every_setting() -> None:
    shown = run("serve", "--help").output
    for setting in ("PORT", "DEFAULT_HOST", "NODES", "CAPACITY", "TOKEN", "THREADS", "LOG_LEVEL"):
        assert setting in shown


def test_the_version_is_the_package_s() -> None:
    assert run("--version").output.startswith("raftyard, version ")


def test_a_misspelt_command_is_named_with_the_right_one() -> None:
    shown = run("serv")
    assert shown.exit_code == 2
    assert "Did you mean 'serve'?" in shown.output


@pytest.mark.parametrize(
    "setting", ["PORT=0", "NODES=0", "CAPACITY=-1", "LOG_LEVEL=LOUD", "DEFAULT_HOST=example"]
)
def test_a_setting_that_cannot_be_used_ends_it_with_one_line(
    monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setenv(*setting.split("="))
    shown = run()
    assert shown.exit_code == 2
    assert shown.output.startswith(f"raftyard: {setting}: expected ")
    assert shown.output.count("\n") == 1


def test_a_misspelt_setting_in_the_file_is_pointed_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("misspelt")
    (folder / ".env").write_text("PROT=9000\n")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DEFAULT_HOST", "0.0.0.0")  # so that it ends by itself: there is no token
    monkeypatch.delenv("TOKEN", raising=False)
    shown = run()
    assert shown.exit_code == 2
    assert "PROT is not a setting and is ignored; did you mean PORT?" in shown.output


def test_the_line_at_the_start_names_the_ports_that_nodes_have(capsys: pytest.CaptureFixture[str]) -> None:
    ports = (9502, 9503, 9504, 9506, 9501)  # one node was replaced
    specs = tuple(NodeSpec(name=f"node_{port}", host="localhost", port=port, capacity=1) for port in ports)
    serve._announce(OrchestratorSettings(host="localhost"), specs, Settings(port=9500))
    assert "(cluster 0: 5 nodes on ports 9501 to 9504, 9506)" in capsys.readouterr().out
