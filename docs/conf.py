"""Sphinx configuration: `python -m sphinx -W --keep-going -b html docs docs/_build/html`."""

import xpnet

project = "xpnet"
author = "The xpnet developers"
project_copyright = author
version = release = xpnet.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
nitpicky = False

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
# The docstrings say what arguments are; to the type checker every array is Any.
autodoc_typehints = "none"
# `x` in a docstring is code.
default_role = "code"
napoleon_google_docstring = False
# As parameters: one entry may name several attributes.
napoleon_custom_sections = [("Attributes", "params_style")]
napoleon_attr_annotations = False
napoleon_use_rtype = False

html_theme = "pydata_sphinx_theme"
templates_path = ["_templates"]
# All pages, in the place of the pages of a section and of the first five in a bar above.
html_sidebars = {"**": ["sidebar-collapse", "pages"]}
html_title = f"xpnet {release}"
html_theme_options = {
    "navigation_with_keys": False,
    "show_prev_next": True,
    "navbar_center": [],
    "secondary_sidebar_items": ["page-toc"],
}
html_show_sourcelink = False
