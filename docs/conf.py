"""Settings of the documentation: sphinx, furo, myst; tables of settings and errors are read from the source."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

from visus import __version__

project = "visus"
author = "the visus authors"
copyright = f"2026, {author}"
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "recipe_settings",
    "error_codes",
    "shown_output",
]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # shapes and meanings stand in the text; a signature of tensor types is hard to read
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_use_ivar = True  # attributes stand in one list, and never twice
napoleon_custom_sections = ["Source"]

html_theme = "furo"
html_title = f"visus {__version__}"
html_theme_options = {"navigation_with_keys": True}
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["visus.css"]
