"""How Sphinx builds these pages: `sphinx-build -W -b html docs docs/_build/html`."""

project = "Raftyard"
author = "The Raftyard authors"
copyright = "2026, The Raftyard authors"

extensions = ["myst_parser"]
# A page links to its own headings by their text.
myst_heading_anchors = 3
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = "Raftyard"
