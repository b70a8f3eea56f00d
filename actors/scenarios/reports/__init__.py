"""What can be made of a run: JUnit XML, an HTML timeline, a Chrome trace (Perfetto), a ShiViz log."""

from __future__ import annotations

from .chrome import chrome_trace
from .junit import junit_xml
from .lanes import Lanes, Span, clusters_of, lanes_of, main_cluster, of_cluster
from .recorded import read_events
from .shiviz import shiviz_log
from .timeline import html_timeline

__all__ = [
    "Lanes",
    "Span",
    "chrome_trace",
    "clusters_of",
    "html_timeline",
    "junit_xml",
    "lanes_of",
    "main_cluster",
    "of_cluster",
    "read_events",
    "shiviz_log",
]
