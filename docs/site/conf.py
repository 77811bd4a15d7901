"""The documentation site: `make docs` has Sphinx read this file.

The site's source is the repository itself, so that links between pages lead to the same place on a code host and here.
"""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "α-UMi on LangGraph"
release = metadata.version("alpha-umi")
author = copyright = "the authors of α-UMi on LangGraph"  # Sphinx's own names
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md", "training/checkpoints/*/README.md"]
exclude_patterns = ["docs/site"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "drawings", "generated"]
autodoc_type_aliases = {each: each for each in ("AnyMessage", "LanguageModelInput")}  # they fill a screen
autodoc_member_order = "bysource"
autodoc_default_options = {"exclude-members": "model_config"}
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 100
smartquotes = False  # --resume is two hyphens
default_role = "code"  # what docstrings put in single backticks
myst_heading_anchors = 4  # as a code host makes them

html_theme = "furo"
html_title = project
html_static_path = ["static"]
html_css_files = ["site.css"]
html_extra_path = ["front"]
html_use_index = html_domain_indices = False  # the search finds names
html_copy_source = html_show_sphinx = html_show_copyright = False
