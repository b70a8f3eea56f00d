"""A reader who follows a page of the documentation: saves its files, types its commands, looks at what they print.

How a page is read, by its code blocks:

- without a language: commands, one a line; each ends with 0.
- `console`: commands behind `$ `, and below each what it prints, all of it; of a curl its answer as JSON, or nothing.
  `...` and `…` stand for anything, as a whole line for any number of lines. A command that ends otherwise than with 0
  is followed by `$ echo $?`.
- `text` after a paragraph `prints`: what the command before it prints. Other `text` has no commands.
- `yaml`, `python`: saved under the name in the paragraph before it, which ends with a colon. Python without a name is
  run. What a workflow of a CI server runs is run, unless it was typed before.

A `command in running text` is typed as well, unless a block has it. One with a PLACEHOLDER is a form: there are such
a command and such options. `--option` is one of some command. Whatever is not understood fails, so that no line is
forgotten.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import click.testing
import pytest
import yaml
from yard_process import PATIENCE_S, ROOT, by_curl, by_urllib, free_base, until

from raftyard.cli import main

SMALLER = {
    "--seeds 1000": "--seeds 5",
    "--scenario-seeds 20": "--scenario-seeds 2",
    "--for 30": "--for 0.5",
}
"""What would take long: the same with a smaller number."""

STANDS_FOR = {
    ". .venv/bin/activate": "raftyard --version",
    "pip install pytest": "pytest --version",
    "pip install '.[campaign]'": "python -c 'import distributed'",
    "pip install ./.raftyard pytest": "raftyard --version && pytest --version",
    "python3 -m venv .venv && .venv/bin/pip install -e . && .venv/bin/python run.py": ".venv/bin/python run.py",
}
"""What would download something: that it is there, in the environment in which the tests run."""

VARIES = {
    r"[\d.]+ s of CPU": "# s of CPU",
    r"[\d.]+ a second": "# a second",
    r"log index \d+": "log index #",
    r"\d+ entries;": "# entries;",
    r"\w+ leads cluster 0 in term \d+": "# leads cluster 0 in term #",
    r"=+ \d+ passed in [\d.]+s.*": "# passed",
}
"""What another machine, another moment or a smaller number prints otherwise."""

WORDS = ("raftyard ", "pytest ", "pip ", "curl ", "sed ", "python ", "python3 ", ". ", ".venv/")
"""What begins so is a command."""

SERVES = re.compile(r"(\w+=\S+ )*(raftyard serve|\.venv/bin/python run\.py)\b")
ASKS = re.compile(r"(\w+=\S+ )*raftyard (plan|stack list|stack show) ")
"""Asked again until the answer is the page's: a reader gives the program more time than this one does."""

OURS = ("PORT", "DEFAULT_HOST", "NODES", "CAPACITY", "TOKEN", "THREADS", "LOG_LEVEL", "DATA_DIR", "RAFTYARD_API")


class Block(NamedTuple):
    """A code block and the prose before it; the prose after the last one has a block of the kind `end`."""

    place: str
    prose: str
    kind: str
    text: str


class Told(NamedTuple):
    """A command, what it prints if that is shown, and the code that it ends with."""

    place: str
    command: str
    shown: str | None = None
    code: int = 0


def blocks_of(page: str) -> list[Block]:
    """Also says where something looks like a block or a command and is none."""
    found, prose, block, kind, start = [], "", "", None, 0
    for number, line in enumerate((ROOT / page).read_text(encoding="utf-8").splitlines(keepends=True), 1):
        if line.startswith("```"):
            if kind is None:
                kind, start = line[3:].strip(), number + 1
            else:
                found.append(Block(f"{page}:{start}", prose, kind, block))
                prose, block, kind = "", "", None
        elif kind is None:
            is_odd = line.lstrip().startswith(("```", "~~~"))
            is_odd = is_odd or (line[:4].isspace() and line.strip().startswith(WORDS))
            assert not is_odd, f"{page}:{number}: a block begins with ``` at the left, or it is not run"
            prose += line
        else:
            block += line
    return [*found, Block(f"{page}:{number}", prose, "end", "")]


def commands_of(block: Block) -> list[Told]:
    """What a block has its reader type, in order."""
    if block.kind == "":
        return [Told(block.place, line) for line in block.text.splitlines()]
    if block.kind == "yaml":
        jobs = (yaml.safe_load(block.text) or {}).get("jobs", {})
        runs = [step.get("run", "") for job in jobs.values() for step in job["steps"]]
        return [Told(block.place, line) for run in runs for line in run.splitlines()]
    if block.kind != "console":
        return []
    before, *parts = re.split(r"^\$ ((?:.*\\\n)*.*)\n", block.text, flags=re.MULTILINE)
    assert not before, f"{block.place}: output before the first command"
    typed = [command.replace("\\\n", "") for command in parts[::2]]
    shown = parts[1::2]
    codes = [int(shown[number]) if command == "echo $?" else 0 for number, command in enumerate(typed)]
    return [
        Told(block.place, command, shown[number], 0 if command == "echo $?" else (*codes, 0)[number + 1])
        for number, command in enumerate(typed)
    ]


def inline_commands(prose: str) -> Iterator[str]:
    for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose):
        if span.startswith(WORDS):
            yield " ".join(span.split())


def is_form(command: str) -> bool:
    """`raftyard plan service NAME`, `--seed N`, `NODE…`; not `NODES=3`."""
    return bool(re.search(r"\b[A-Z]+\b(?!=)|…|\[--", command))


class Reader:
    """In a folder of his own, in the environment in which the tests run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base = free_base()
        self.printed = ""
        self.code = 0
        self._typed: set[str] = set()
        self._known: set[tuple[str, ...]] = set()
        self._served: subprocess.Popen[bytes] | None = None
        scripts = sysconfig.get_path("scripts")
        self._environment = {
            name: value for name, value in os.environ.items() if name not in OURS and not name.startswith("PYTEST")
        }
        self._environment |= {"PATH": f"{scripts}:{os.environ['PATH']}", "PORT": str(self.base), "COLUMNS": "80"}
        (folder / ".venv").symlink_to(Path(scripts).parent)
        (folder / "run.py").symlink_to(ROOT / "run.py")

    def follow(self, *pages: str) -> None:
        """Do all that the pages say, and end what was started."""
        blocks = [block for page in pages for block in blocks_of(page)]
        typed = [told.command for block in blocks for told in commands_of(block)]
        try:
            for block in blocks:
                check_options(block)
                for command in inline_commands(block.prose):
                    if is_form(command):
                        check_form(block.place, command)
                    elif not any(command in other for other in typed):
                        self.type(Told(f"in the text before {block.place}", command))
                self._follow(block)
            assert self._stop() == 0, "the program did not end well"
        finally:
            if self._served is not None:
                self._served.kill()
                self._served.wait()

    def _follow(self, block: Block) -> None:
        paragraph = block.prose.strip().rpartition("\n\n")[2]
        match block.kind:
            case "" | "console":
                pass
            case "yaml" | "python":
                self._save(block, paragraph)
            case "text" if paragraph == "prints":
                self._check(Told(block.place, "(the command before)", block.text, self.code))
            case _:
                is_known = block.kind in ("text", "end") or block.kind.startswith("{")
                assert is_known, f"{block.place}: tests/reader.py does not know what a block of {block.kind!r} is"
                lines = [line for line in block.text.splitlines() if line.removeprefix("$ ").startswith(WORDS)]
                assert not lines, f"{block.place}: the commands of a block of {block.kind!r} are not run: {lines}"
        for told in commands_of(block):
            if block.kind != "yaml" or told.command not in self._typed:
                self.type(told)

    def _save(self, block: Block, paragraph: str) -> None:
        named = re.search(r"`([\w./-]+\.(?:ya?ml|py))`[^`]*:$", paragraph)
        if named:
            file = self.folder / named[1]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
        else:
            assert block.kind == "python", f"{block.place}: under which name is this saved? {paragraph!r} names none"
            exec(compile(block.text, block.place, "exec"), {"__name__": "documentation"})

    def type(self, told: Told) -> None:
        """One command: run, and compared."""
        self._typed.add(told.command)
        command = self._here(quick(told.command))
        if SERVES.match(command):
            self._serve(command)
        elif command.startswith("curl "):
            self._curl(command, told)
            return
        else:
            self._run(command)
            until_s = time.monotonic() + PATIENCE_S / 2
            while ASKS.match(command) and not self._is(told) and time.monotonic() < until_s:
                time.sleep(0.05)
                self._run(command)
        self._check(told)

    def _here(self, command: str) -> str:
        """The page's ports 8000 to 8999 are where this reader's program listens."""
        return re.sub(r"\b8\d{3}\b", lambda port: str(self.base + int(port[0]) - 8000), command)

    def _there(self, printed: str) -> str:
        ports = {str(self.base + number): str(8000 + number) for number in range(1000)}
        return re.sub(r"(?<=[: ])\d{5}\b", lambda port: ports.get(port[0], port[0]), printed)

    def _run(self, command: str) -> None:
        """In a shell. What a shell has run once is run in this process after that, which is cheaper, unless it needs
        a shell or starts processes of its own."""
        program, *words = shlex.split(command)
        kind = tuple(words[:2])
        if program == "raftyard" and kind in self._known and not re.search(r"[|<>&;]| --seeds ", command):
            self._run_here(words)
            return
        self._run_in_a_shell(command)
        if program == "raftyard":
            self._known.add(kind)

    def _run_here(self, words: list[str]) -> None:
        environment = dict.fromkeys(OURS) | {"PORT": str(self.base), "COLUMNS": "80"}
        with contextlib.chdir(self.folder):
            ran = click.testing.CliRunner(env=environment).invoke(main, words, prog_name="raftyard")
        if ran.exception is not None and not isinstance(ran.exception, SystemExit):
            raise ran.exception
        self.code, self.printed = ran.exit_code, self._there(ran.output)

    def _run_in_a_shell(self, command: str) -> None:
        """One whose $? is the code of the command before."""
        ran = subprocess.run(
            ["bash", "-c", f"(exit {self.code})\n{command}"],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        self.code, self.printed = ran.returncode, self._there(ran.stdout)

    def _serve(self, command: str) -> None:
        """Start it, after the end of the one before, and wait until somebody leads."""
        assert self._stop() == 0
        output = self.folder / "printed"
        with output.open("wb") as file:
            self._served = served = subprocess.Popen(
                ["bash", "-c", f"exec env {command}"],
                cwd=self.folder,
                env=self._environment,
                stdout=file,
                stderr=subprocess.DEVNULL,
            )
        until(lambda: "leads cluster 0" in output.read_text() or served.poll() is not None)
        self.code, self.printed = served.poll() or 0, self._there(output.read_text())
        assert served.poll() is None, f"{command} ended: {self.printed}"

    def _stop(self) -> int:
        served, self._served = self._served, None
        if served is None:
            return 0
        served.send_signal(signal.SIGTERM)
        return served.wait(PATIENCE_S)

    def _curl(self, command: str, told: Told) -> None:
        words = shlex.split(command)
        reply = by_curl(words) if shutil.which("curl") else by_urllib(words)
        answered = f"{told.place}: $ {told.command}\nis answered with {self._there(str(reply))}"
        if told.shown:
            assert reply.body == json.loads(self._here(told.shown)), answered
        else:
            assert reply.status < 400, answered
        self.code = 0

    def _is(self, told: Told) -> bool:
        return self.code == told.code and (told.shown is None or is_shown(told.shown, self.printed))

    def _check(self, told: Told) -> None:
        if not self._is(told):
            shown = "" if told.shown is None else f"The page shows:\n{told.shown}"
            pytest.fail(
                f"{told.place}: $ {told.command}\n"
                f"ends with {self.code} (as the page has it: {told.code}), and prints:\n{self.printed}{shown}",
                pytrace=False,
            )


def quick(command: str) -> str:
    """The command with smaller numbers, and without what would download something."""
    for large, small in SMALLER.items():
        command = re.sub(rf"{large}\b", small, command)
    return STANDS_FOR.get(command, command)


def is_shown(shown: str, printed: str) -> bool:
    """Whether a page shows what was printed, but for what varies and what it leaves out."""
    lines = [
        r"(?:.*\n)*?" if line in ("...", "…") else ".*".join(map(re.escape, re.split(r"\.\.\.|…", line))) + r"\n"
        for line in map(str.strip, masked(shown).splitlines())
    ]
    there = "".join(f"{line.strip()}\n" for line in masked(printed).splitlines())
    return re.fullmatch("".join(lines), there) is not None


def masked(text: str) -> str:
    for pattern, word in VARIES.items():
        text = re.sub(pattern, word, text)
    return text


def check_form(place: str, command: str) -> None:
    """`raftyard plan drain NODE… [--deadline SECONDS]`: there is such a command, and it has such options."""
    program, *words = command.split()
    assert program == "raftyard", f"{place}: {command}"
    path = re.match(r"(?:[a-z]+ )*", " ".join(words) + " ")
    assert path
    told = click.testing.CliRunner().invoke(main, [*path[0].split(), "--help"])
    assert told.exit_code == 0, f"{place}: {command}: {told.output}"
    missing = [option for option in re.findall(r"--[a-z-]+", command) if option not in told.output]
    assert not missing, f"{place}: {command} has no {missing}"


def check_options(block: Block) -> None:
    """`--seed N` in running text: some command has such an option, or pytest with Raftyard's plugin."""
    plugin = (ROOT / "actors/scenarios/plugin.py").read_text(encoding="utf-8")
    known = {*options_of(main), *re.findall(r'"(--scenario-[a-z]+)"', plugin)}
    named = set(re.findall(r"`(--[a-z-]+)", block.prose))
    assert named <= known, f"before {block.place}: no command has {named - known}"


def options_of(command: click.Command) -> Iterator[str]:
    """Those of the commands below it, too."""
    for parameter in command.params:
        yield from parameter.opts
    if isinstance(command, click.Group):
        for below in command.commands.values():
            yield from options_of(below)
