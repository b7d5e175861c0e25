"""What depends on the table of contents: the list `{chapters}`, and `{when-page}` for a page that may not be there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from late_links import EXECUTED, to_page
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from table_nodes import paragraph

logger = logging.getLogger(__name__)


def contents(directive: SphinxDirective) -> dict[str, Any]:
    """_toc.yml, as sphinx-external-toc reads it."""
    directive.env.note_dependency("_toc.yml")
    return yaml.safe_load((Path(directive.env.srcdir) / "_toc.yml").read_text(encoding="utf-8"))


class ChaptersDirective(SphinxDirective):
    """Lists the pages that _toc.yml has; what is described but not (yet) there is left out.

    The content is YAML: the last part of a page's name, then its description in MyST. A chapter, which is a page made
    from a notebook, must have one.
    """

    has_content = True

    def run(self) -> list[nodes.Node]:
        described = yaml.safe_load("\n".join(self.content)) or {}
        toc = contents(self)
        made: list[nodes.Node] = []
        for part in toc.get("parts", [toc]):
            items = nodes.definition_list()
            for chapter in part.get("chapters", []):
                page = chapter.get("file")
                if page is None:
                    continue
                description = described.get(Path(page).name)
                if description is None and page.startswith(EXECUTED):
                    logger.warning("chapters: no description of %s", page, location=self.get_location())
                parsed, messages = self.state.inline_text(description or "", self.lineno)
                term = nodes.term("", "", to_page(page, ""))
                items += nodes.definition_list_item(
                    "", term, nodes.definition("", paragraph(*parsed, *messages)) if description else nodes.definition()
                )
            if part.get("caption"):
                made.append(paragraph(nodes.strong("", part["caption"]), classes=["chapter-part"]))
            made.append(items)
        return [nodes.container("", *made, classes=["chapter-list"])]


class WhenPageDirective(SphinxDirective):
    """`{when-page} book/NAME`: the content, if _toc.yml has the page."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        pages = {chapter.get("file") for part in contents(self).get("parts", []) for chapter in part["chapters"]}
        if self.arguments[0] not in pages:
            return []
        made = nodes.container()
        self.state.nested_parse(self.content, self.content_offset, made)
        return made.children


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("chapters", ChaptersDirective)
    app.add_directive("when-page", WhenPageDirective)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
