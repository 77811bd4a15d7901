"""Mermaid drawings become SVG files when the site is built, so that a page loads no program to draw them."""

from __future__ import annotations

import re
from hashlib import sha256
from os.path import relpath
from pathlib import Path

import mmdr
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

BEHIND_LABELS = "hsl(-120, 0%, 80%)"
"""A grey whose boxes are made for another font, and are narrower than the labels."""


class DrawMermaid(SphinxTransform):
    """Puts a picture in the place of each block of Mermaid."""

    default_priority = 500

    def apply(self, **_: object) -> None:
        """Draw the blocks of one page."""
        for block in list(self.document.findall(nodes.literal_block)):
            if block.get("language") == "mermaid":
                block.replace_self(self._draw(block.astext()))

    def _draw(self, text: str) -> nodes.Node:
        file = Path(self.env.doctreedir, "drawings", f"{sha256(text.encode()).hexdigest()[:16]}.svg")
        file.parent.mkdir(exist_ok=True)
        drawing = mmdr.render(text).svg().replace(BEHIND_LABELS, "#fff")
        file.write_text(drawing, encoding="utf-8")
        width = re.search(r"max-width:[\d.]+px", drawing)
        title = re.search(r"accTitle: (.+)", text)
        names = ", ".join(re.findall(r"^\t(\w+)\(\w+\)$", text, re.MULTILINE))
        image = nodes.image(
            uri=f"/{relpath(file, self.env.srcdir)}",
            width=width[0].removeprefix("max-width:") if width else "100%",
            alt=title[1] if title else f"The graph, with the nodes {names}",
        )
        return nodes.container("", image, classes=["drawing"])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the transform."""
    app.add_transform(DrawMermaid)
    return {"parallel_read_safe": True}
