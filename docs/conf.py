"""The documentation's settings: python -m sphinx -W --keep-going -b html docs build/site."""

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import plots  # noqa: E402 - it lies beside this file

import depthwise  # noqa: E402

plots.for_site(HERE / "_generated")

project = "depthwise"
author = "the depthwise authors"
copyright = f"2026, {author}"
version = release = depthwise.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_generated", "gallery/*.ipynb", "sg_execution_times.rst"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

autodoc_typehints = "none"  # numpydoc's sections say more than the hints do
autosummary_generate = True
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "min_reported_time": 1e9,
    "image_srcset": ["2x"],
    "plot_gallery": "True",
}

# Names of other libraries, which have no inventory without a network, and words of numpydoc's types.
nitpick_ignore_regex = [("py:.*", r"(copy|numpy|jax|torch|scipy|xarray|dask|cupy|chainer|flax)(\..*)?")]

html_theme = "pydata_sphinx_theme"
html_title = "depthwise"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "show_nav_level": 1,
    "header_links_before_dropdown": 7,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
}
html_sidebars = {"index": []}
linkcheck_timeout = 20
linkcheck_anchors = False  # pages that a script builds have none to find
suppress_warnings = ["config.cache"]  # the gallery's settings hold what cannot be pickled


def _for_the_site(app, docname, source):
    """Pages are written to be read in the repository, too; some of that reads better otherwise here."""
    text = source[0].replace("](../CONTRIBUTING.md)", "](contributing.md)")
    text = re.sub(r"\[([\w-]+)\.md\]\(\1\.md\)", r"[](\1.md)", text)  # the page's title, not its file's name
    source[0] = text.replace("\n\n```\n", "\n```\n")  # the empty line that ends an example


def setup(app):
    """Sphinx calls this."""
    app.connect("source-read", _for_the_site)
