"""The command line itself: help, version, and wrong usage, without a server."""

from pathlib import Path

import click.testing
import pytest

from raftyard.actors import errors
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


@pytest.mark.parametrize("words", [["serve", "--data", "KEPT"], ["--data", "KEPT", "serve"], ["--data", "KEPT"]])
def test_where_everything_is_kept_may_be_said_before_the_command_or_after_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str]
) -> None:
    assert _data_of(monkeypatch, tmp_path, *words) == Path("KEPT")


@pytest.mark.parametrize("words", [["serve", "--ephemeral"], ["--ephemeral", "serve"], ["--ephemeral"]])
def test_that_nothing_is_kept_may_be_said_before_the_command_or_after_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str]
) -> None:
    assert _data_of(monkeypatch, tmp_path, *words) is None


def _data_of(monkeypatch: pytest.MonkeyPatch, folder: Path, *words: str) -> Path | None:
    started: list[Settings] = []
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DATA_DIR", raising=False)
    monkeypatch.setattr("raftyard.cli.serve.serve", started.append)
    shown = run(*words)
    assert shown.exit_code == 0, shown.output
    return started[0].data_dir


def test_backup_and_restore_take_the_folder_before_the_command_too(tmp_path: Path) -> None:
    folder, file = str(tmp_path / "none"), str(tmp_path / "file")
    assert f"{folder} holds no clusters" in run("--data", folder, "backup", file).output
    Path(file).write_text("no backup")
    assert f"{file} is no readable backup" in run("--data", folder, "restore", file).output
    assert "--ephemeral keeps nothing that could be copied" in run("--ephemeral", "backup", file).output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data", "a", "serve", "--ephemeral"], "--data keeps everything and --ephemeral nothing"),
        (["--ephemeral", "serve", "--data", "a"], "--data keeps everything and --ephemeral nothing"),
        (["--data", "a", "serve", "--data", "b"], "--data is given twice, as a and as b; name one folder"),
        (["--data", "a", "scenario", "list"], "--data is not for scenario; leave it out"),
        (["--ephemeral", "plan", "loss"], "--ephemeral is not for plan; leave it out"),
    ],
)
def test_an_option_before_the_command_that_cannot_be_meant_is_refused_by_name(words: list[str], said: str) -> None:
    shown = run(*words)
    assert shown.exit_code == 2
    assert said in shown.output and shown.output.count("\n") == 1


def test_the_line_at_the_start_names_the_ports_that_nodes_have(capsys: pytest.CaptureFixture[str]) -> None:
    ports = (9502, 9503, 9504, 9506, 9501)  # one node was replaced
    specs = tuple(NodeSpec(name=f"node_{port}", host="localhost", port=port, capacity=1) for port in ports)
    serve._announce(OrchestratorSettings(host="localhost"), specs, Settings(port=9500))
    assert "(cluster 0: 5 nodes on ports 9501 to 9504, 9506)" in capsys.readouterr().out


def test_a_port_of_a_node_that_cannot_be_opened_is_named_with_the_reason() -> None:
    class Ports:
        def open(self, *where: object) -> None:
            raise errors.Conflict("cannot listen there: Permission denied", hint="choose another port")

    node = NodeSpec(name="node_0", host="localhost", port=81, capacity=1)
    with pytest.raises(serve.CannotStart, match="port 81 of node_0: .*Permission denied; choose another port"):
        serve._open_ports(_Closed(), Ports(), (node,), Settings())  # type: ignore[arg-type]


class _Closed:
    def open(self, port: int) -> None:
        """Nothing is opened."""
