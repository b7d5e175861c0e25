"""Launch buttons for Binder and Colab: on notebooks' pages, and only where they lead to something that works.

They open the notebooks of the published branch, which `pipeline/publish.py` lays out. As long as the repository has no
address (`repository.url` of _config.yml), there is no such branch, and there are no buttons.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError

BRANCH = "gh-pages"
FOLDER = "_sources"
SERVICES = {"binderhub_url": "https://mybinder.org", "colab_url": "https://colab.research.google.com"}


def options(address: str) -> dict[str, Any]:
    """The theme's options for a repository's address; without one, no buttons.

    Raises:
        ExtensionError: if the address is not of the form https://github.com/OWNER/NAME, the only one that Colab opens.
    """
    if not address:
        return {"launch_buttons": {}}
    if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", address):
        raise ExtensionError(
            f"repository.url in _config.yml must be empty or https://github.com/OWNER/NAME, got {address!r}"
        )
    return {
        "repository_url": address,
        "repository_branch": BRANCH,
        "path_to_docs": FOLDER,
        "launch_buttons": {"notebook_interface": "jupyterlab", **SERVICES},
    }


def set_options(app: Sphinx, config: Config) -> None:
    config.html_theme_options.update(options((config.html_theme_options.get("repository_url") or "").rstrip("/")))


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("config-inited", set_options)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
