"""A report as blocks, written as Markdown or as one HTML page that needs nothing from outside.

All text in a block is plain: it is escaped here, so that nothing a model wrote can become markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TypeAlias

from alpha_umi.training.evaluation.style import PAGE_STYLE


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table of labels followed by numbers; what follows a line break in a cell is a remark on what precedes it.

    Args:
        header: One title per column.
        rows: As many cells each.
        n_labels: How many of the columns are labels.
        marked: Indices of rows to stand out.
        heat: Per row and column how strongly a cell is tinted, in [0, 1]; empty for no tint.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    n_labels: int = 1
    marked: frozenset[int] = frozenset()
    heat: Sequence[Sequence[float]] = ()


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture.

    Args:
        name: File name without ending, for the Markdown report.
        svg: The picture; trusted markup.
        caption: Says what is seen.
    """

    name: str
    svg: str
    caption: str


@dataclass(frozen=True, slots=True)
class Case:
    """One example to read: named texts, folded away in the page.

    Args:
        title: One line.
        fields: Name and text, in order.
        open: Whether it is unfolded at first.
    """

    title: str
    fields: Sequence[tuple[str, str]]
    open: bool = False


Block: TypeAlias = Text | Table | Figure | Case


@dataclass(frozen=True, slots=True)
class Section:
    """A headline and what stands under it."""

    title: str
    blocks: Sequence[Block] = field(default_factory=list)


def render_html(title: str, sections: Sequence[Section]) -> str:
    """Return the page; style sheet and pictures are part of it."""
    slugs = [_slug(section.title) for section in sections]
    links = "".join(
        f'<a href="#{slug}">{escape(section.title)}</a>' for slug, section in zip(slugs, sections, strict=True)
    )
    body = "".join(
        f'<section id="{slug}"><h2>{escape(section.title)}</h2>{"".join(map(_to_html, section.blocks))}</section>\n'
        for slug, section in zip(slugs, sections, strict=True)
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{PAGE_STYLE}</style></head>\n"
        f"<body><main><h1>{escape(title)}</h1><nav>{links}</nav>\n{body}</main></body></html>\n"
    )


def render_markdown(title: str, sections: Sequence[Section]) -> str:
    """Return the report as Markdown; its figures are expected in the folder ``figures``."""
    parts = [f"# {_plain(title)}"]
    for section in sections:
        parts += [f"## {_plain(section.title)}", *map(_to_markdown, section.blocks)]
    return "\n\n".join(parts) + "\n"


def list_figures(sections: Sequence[Section]) -> Iterator[Figure]:
    """Yield every picture of a report."""
    for section in sections:
        yield from (block for block in section.blocks if isinstance(block, Figure))


def _to_html(block: Block) -> str:
    if isinstance(block, Text):
        return f"<p>{escape(block.text)}</p>"
    if isinstance(block, Table):
        return _table_to_html(block)
    if isinstance(block, Figure):
        return f"<figure>{block.svg}<figcaption>{escape(block.caption)}</figcaption></figure>"
    fields = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in block.fields)
    return (
        f"<details{' open' if block.open else ''}><summary>{escape(block.title)}</summary><dl>{fields}</dl></details>"
    )


def _table_to_html(table: Table) -> str:
    head = "".join(f"<th{_align(table, j)}>{_lines(cell)}</th>" for j, cell in enumerate(table.header))
    rows = []
    for i, row in enumerate(table.rows):
        cells = "".join(f"<td{_align(table, j)}{_tint(table, i, j)}>{_lines(cell)}</td>" for j, cell in enumerate(row))
        rows.append(f"<tr{' class=marked' if i in table.marked else ''}>{cells}</tr>")
    return f"<div class=wide><table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"


def _align(table: Table, column: int) -> str:
    return " class=label" if column < table.n_labels else ""


def _tint(table: Table, row: int, column: int) -> str:
    return f' style="--heat:{100 * table.heat[row][column]:.0f}%"' if table.heat else ""


def _lines(cell: str) -> str:
    first, _, rest = cell.partition("\n")
    return f"{escape(first)}<small>{escape(rest)}</small>" if rest else escape(first)


def _to_markdown(block: Block) -> str:
    if isinstance(block, Text):
        return _plain(block.text)
    if isinstance(block, Table):
        return _table_to_markdown(block)
    if isinstance(block, Figure):
        return f"![{_plain(block.caption)}](figures/{block.name}.svg)\n\n{_plain(block.caption)}"
    return "\n\n".join([f"### {_plain(block.title)}", *(_field_to_markdown(*each) for each in block.fields)])


def _table_to_markdown(table: Table) -> str:
    rule = ["---" if j < table.n_labels else "---:" for j in range(len(table.header))]
    rows = [[_plain(cell) for cell in row] for row in table.rows]
    rows = [[f"**{cell}**" for cell in row] if i in table.marked else row for i, row in enumerate(rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in ([*map(_plain, table.header)], rule, *rows))


def _field_to_markdown(name: str, text: str) -> str:
    """Fence a text by more backticks than it holds itself."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{_plain(name)}:\n\n{fence}text\n{text}\n{fence}"


def _plain(text: str) -> str:
    """Return a text as one line of Markdown that means nothing but itself."""
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", " ".join(text.split()))


def _slug(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower()).strip("-")
