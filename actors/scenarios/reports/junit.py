"""JUnit XML, which every CI server reads: a test case a scenario, its seed as a property, a failure as it is told."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from ..running import Outcome
from ..telling import told

__all__ = ["junit_xml"]

# Characters that XML 1.0 cannot hold, however they are written.
_IMPOSSIBLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(outcomes: Sequence[Outcome]) -> bytes:
    """One test suite with a test case for each run; times are CPU seconds."""
    failed = sum(not outcome.passed for outcome in outcomes)
    total = f"{sum(outcome.cpu_s for outcome in outcomes):.3f}"
    suites = ElementTree.Element("testsuites")
    suite = ElementTree.SubElement(
        suites,
        "testsuite",
        name="raftyard scenarios",
        tests=str(len(outcomes)),
        failures=str(failed),
        errors="0",
        skipped="0",
        time=total,
    )
    for outcome in outcomes:
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=_clean(outcome.file),
            name=_clean(f"{outcome.title} [seed {outcome.seed}]"),
            time=f"{outcome.cpu_s:.3f}",
        )
        properties = ElementTree.SubElement(case, "properties")
        for name, value in (("seed", outcome.seed), ("clock", outcome.clock), ("digest", outcome.digest)):
            ElementTree.SubElement(properties, "property", name=name, value=str(value))
        if outcome.failure is not None:
            message = f"{outcome.failure.promise}: {outcome.failure.reason.splitlines()[0]}"
            failure = ElementTree.SubElement(case, "failure", message=_clean(message), type="PromiseBroken")
            failure.text = _clean(told(outcome))
    ElementTree.indent(suites)
    return bytes(ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)) + b"\n"


def _clean(text: str) -> str:
    return _IMPOSSIBLE.sub("?", text)
