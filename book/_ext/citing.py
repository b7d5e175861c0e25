"""How to cite and where to write: from CITATION.cff and from the repository's address in _config.yml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole

CITATION = "CITATION.cff"


def repository(srcdir: Path) -> str:
    """The repository's address, or an empty text: `repository.url` of _config.yml is the one place where it stands."""
    config = yaml.safe_load((srcdir / "_config.yml").read_text(encoding="utf-8"))
    return (config.get("repository", {}).get("url") or "").rstrip("/")


def bibtex(citation: dict[str, Any], address: str) -> str:
    """The companion's entry, from the content of its CITATION.cff."""
    authors = [
        author.get("name") or f"{author['family-names']}, {author['given-names']}" for author in citation["authors"]
    ]
    fields = {
        "title": citation["title"],
        "author": " and ".join(f"{{{name}}}" if "," not in name else name for name in authors),
        "version": str(citation["version"]),
        "year": str(citation["date-released"])[:4] if "date-released" in citation else "",
        "url": address,
        "note": f"Licence: {citation['license']}",
    }
    width = max(map(len, fields))
    inner = ",\n".join(f"  {name:{width}} = {{{value}}}" for name, value in fields.items() if value)
    return f"@software{{clop_companion,\n{inner}\n}}"


class CompanionBibtexDirective(SphinxDirective):
    """`{companion-bibtex}`: the BibTeX entry of this book."""

    def run(self) -> list[nodes.Node]:
        srcdir = Path(self.env.srcdir)
        self.env.note_dependency(CITATION)
        self.env.note_dependency("_config.yml")
        text = bibtex(yaml.safe_load((srcdir / CITATION).read_text(encoding="utf-8")), repository(srcdir))
        return [nodes.literal_block(text, text, language="bibtex")]


class RepositoryRole(SphinxRole):
    """`{repository}` with a text and a path, as in "its issues <issues>": a link once the repository has an address."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        text, _, path = self.text.partition("<")
        text, path = text.strip(), path.rstrip(">").strip("/ ")
        address = repository(Path(self.env.srcdir))
        if not address:
            return [nodes.Text(text)], []
        return [nodes.reference("", text, refuri=f"{address}/{path}" if path else address)], []


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("companion-bibtex", CompanionBibtexDirective)
    app.add_role("repository", RepositoryRole())
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
