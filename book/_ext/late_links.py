"""Links that can be resolved only when every page is known: to a notebook, to a label in one, to a file of the site."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)

EXECUTED = "book/_executed"


class late_link(nodes.inline):
    """Becomes a reference to a page (`page`, `anchor` or `target`) or to a file at the site's root (`file`)."""


def to_file(file: str, text: str | None = None) -> late_link:
    """A link to a file that the extension puts into the site; `file` is its path from the site's root."""
    return late_link("", text or file, file=file)


def to_page(page: str, text: str, target: str | None = None) -> late_link:
    """A link to a page by its docname, and to an HTML id on it or a state in its address."""
    return late_link("", text, page=page, target=target)


def to_notebook(notebook: str, why: str, anchor: str | None = None, number: bool = False) -> late_link:
    """A link to a chapter by its title, and to a label in it; `number` names a figure instead.

    Args:
        notebook: name of the notebook.
        why: who asks, for the warning where there is no such page or label.
        anchor: a label in it.
        number: whether the text is the figure's number, where it has one.
    """
    return late_link("", "", page=f"{EXECUTED}/{notebook}", anchor=anchor, why=why, number=number)


def label_of(app: Sphinx, docname: str, anchor: str) -> str | None:
    """The HTML id of a label on a page: sections, figures and tables, then equations, then theorems."""
    env = app.env
    found = env.get_domain("std").data["anonlabels"].get(anchor.lower())
    if found and found[0] == docname:
        return found[1]
    equation = env.get_domain("math").data["objects"].get(anchor)
    if equation and equation[0] == docname:
        return f"equation-{nodes.make_id(anchor)}"
    proof = getattr(env, "proof_list", {}).get(anchor)
    return proof["ids"][0] if proof and proof["docname"] == docname else None


def resolve(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    for link in list(doctree.findall(late_link)):
        if link.get("file"):
            uri = "../" * docname.count("/") + link["file"]
            link.replace_self(nodes.reference("", link.astext(), internal=True, refuri=uri))
            continue
        page, anchor, target = link["page"], link.get("anchor"), link.get("target")
        if page not in app.env.found_docs:
            logger.warning("%s: there is no page %r", link.get("why", "link"), page, location=docname)
            link.replace_self(nodes.Text(link.astext() or page))
            continue
        if anchor:
            target = label_of(app, page, anchor)
            if target is None:
                logger.warning("%s: no label %r in %s", link["why"], anchor, page, location=docname)
        numbers = app.env.toc_fignumbers.get(page, {}).get("figure", {}).get(target)
        numbered = f"Fig. {'.'.join(map(str, numbers))}" if numbers and link.get("number") else ""
        text = link.astext() or numbered or app.env.titles[page].astext()
        uri = app.builder.get_relative_uri(docname, page) + (f"#{target}" if target else "")
        made = nodes.reference("", text, internal=True, refuri=uri, classes=link["classes"])
        link.replace_self(made)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_node(late_link)
    app.connect("doctree-resolved", resolve)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
