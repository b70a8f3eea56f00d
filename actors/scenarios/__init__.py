"""Scenarios: script an outage, get the same answer every time.

    from raftyard.actors.scenarios import Simulation

# General layout
#
# format.py     what a file may say: sections, verbs, modifiers      document.py    YAML with lines and columns
# reading.py    reads and checks a file                              expressions.py conditions, a small part of Python
# schema.py     the same for editors, as JSON Schema                 quantities.py  5s, 250ms, 5%
# running.py    plays a scenario                                     chaos.py       random faults, then peace
# simulation.py the Python face: links.py, members.py, services.py, conditions.py on a stage (stage.py)
# ground.py     virtual or live: inside.py and picture.py are what conditions see there (views.py)
# watch.py      looks at the promises: checkers/, one a file         histories.py   what clients asked and heard
# wording.py    a user's words for wrong values
# telling.py    how a run is told to people                         reports/       the same for machines and browsers
# tracing.py    the messages between nodes                          library.py     the stories/ that come with it
# campaign.py   thousands of seeds                                  shrinking.py   the fewest steps that still fail
# plugin.py     scenarios as tests of pytest                        client.py      an actor that reads through a node
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    from .campaign import Campaign as Campaign, run_campaign as run_campaign
    from .checkers import CHECKERS as CHECKERS, Checker as Checker, PromiseBroken as PromiseBroken
    from .document import Mistake as Mistake, WrongScenario as WrongScenario
    from .format import Scenario as Scenario
    from .library import (
        describe_stories as describe_stories,
        find_scenario as find_scenario,
        stories as stories,
    )
    from .reading import read_scenario as read_scenario, read_scenario_file as read_scenario_file
    from .running import (
        Failure as Failure,
        Interrupted as Interrupted,
        Outcome as Outcome,
        play as play,
    )
    from .schema import json_schema as json_schema
    from .shrinking import as_yaml as as_yaml, shrink as shrink
    from .simulation import Simulation as Simulation
    from .stage import Fault as Fault, ScenarioFailed as ScenarioFailed, StepFailed as StepFailed
    from .telling import told as told

# Loaded when first used: the pytest plugin lives here, and is part of every pytest run.
_NAMES = {
    "campaign": "Campaign run_campaign",
    "checkers": "CHECKERS Checker PromiseBroken",
    "document": "Mistake WrongScenario",
    "format": "Scenario",
    "library": "describe_stories find_scenario stories",
    "reading": "read_scenario read_scenario_file",
    "running": "Failure Interrupted Outcome play",
    "schema": "json_schema",
    "shrinking": "as_yaml shrink",
    "simulation": "Simulation",
    "stage": "Fault ScenarioFailed StepFailed",
    "telling": "told",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}
__all__ = list(_HOME)

if not typing.TYPE_CHECKING:  # else a type checker would believe every name, misspelt ones too

    def __getattr__(name):
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
        globals()[name] = value
        return value

    def __dir__():
        return sorted(globals() | _HOME)
