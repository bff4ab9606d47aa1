"""Pieces of HTML: everything that comes from a study, a site or a file passes through `escape` here."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Markup:
    """HTML that is safe to place as it stands; any other text is escaped where it is placed."""

    text: str

    def __str__(self) -> str:
        return self.text


Content = Markup | str | float


def escape(content: Content) -> str:
    """Text as HTML: markup as it stands, anything else with its special characters escaped."""
    return content.text if isinstance(content, Markup) else html.escape(str(content), quote=True)


def element(tag: str, *content: Content, **attributes: str) -> Markup:
    """One element. An attribute's underscores become hyphens and a trailing one goes: `class_`, `aria_label`.

    >>> str(element("b", "a < b", class_="x"))
    '<b class="x">a &lt; b</b>'
    """
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(value, quote=True)}"'
        for name, value in attributes.items()
        if value
    )
    return Markup(f"<{tag}{written}>{''.join(escape(part) for part in content)}</{tag}>")


def join(parts: Iterable[Content], separator: str = "") -> Markup:
    """Several pieces as one; the separator is text."""
    return Markup(html.escape(separator).join(escape(part) for part in parts))


def paragraph(*content: Content, class_: str = "") -> Markup:
    """A paragraph."""
    return element("p", *content, class_=class_)


def section(identifier: str, title: str, *content: Content) -> Markup:
    """A section of the page with its heading and anchor."""
    heading = element("h2", title)
    return element("section", heading, *content, id=identifier)


def missing(text: str) -> Markup:
    """What a section says in place of what there is no data for."""
    return paragraph(text, class_="missing")


@final
@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Args:
        main: what stands there.
        note: a second line, smaller.
        class_: "number" (to the right), "text" or further CSS classes.
        bar: 0 to 1: how far a thin bar reaches below the number; negative for none.
    """

    main: Content
    note: Content = ""
    class_: str = "number"
    bar: float = -1.0


def table(
    header: Sequence[Content],
    rows: Iterable[Sequence[Cell | Content]],
    *,
    caption: Content = "",
    class_: str = "",
) -> Markup:
    """A table that scrolls sideways on a narrow screen; the first cell of a row is its heading.

    Args:
        header: the columns' headings; wrap one in `left` where its cells are text.
        rows: each with as many cells as the header.
        caption: above the table.
        class_: further CSS classes.
    """
    heads = [
        element("th", head, scope="col", class_="text" if i == 0 else "") for i, head in enumerate(header)
    ]
    body = [element("tr", *(_cell(cell, first=i == 0) for i, cell in enumerate(row))) for row in rows]
    parts = [element("caption", caption)] if str(caption) else []
    parts += [element("thead", element("tr", *heads)), element("tbody", *body)]
    inner = element("table", *parts, class_=class_, style=f"--columns:{len(header) - 1}")
    return element("div", inner, class_="scroll", tabindex="0", role="region", aria_label="table")


def left(text: str) -> Markup:
    """The heading of a column of text."""
    return element("span", text, class_="left")


def definitions(pairs: Iterable[tuple[str, Content]]) -> Markup:
    """A list of facts: name and value."""
    rows = [element("div", element("dt", name), element("dd", value)) for name, value in pairs]
    return element("dl", *rows, class_="facts")


def bullets(items: Iterable[Content]) -> Markup:
    """A bulleted list."""
    return element("ul", *(element("li", item) for item in items))


def details(summary: Content, *content: Content) -> Markup:
    """A part that is folded away on screen."""
    return element("details", element("summary", summary), *content)


def tile(label: str, value: Content, note: Content, *, tone: str = "") -> Markup:
    """One number of the summary: what it is, how much, what it means."""
    return element(
        "div",
        element("div", label, class_="label"),
        element("div", value, class_="value"),
        element("div", note, class_="note"),
        class_=f"tile {tone}".strip(),
    )


def swatch(colour: str) -> Markup:
    """A small square of a CSS colour."""
    return element("span", class_="swatch", style=f"background:{colour}")


def legend(entries: Mapping[str, Markup]) -> Markup:
    """Titles with their signs: swatches, lines."""
    return element("ul", *(element("li", sign, title) for title, sign in entries.items()), class_="legend")


def figure(picture: Markup, *caption: Content, class_: str = "") -> Markup:
    """A picture with its caption above, where a reader looks first."""
    return element("figure", element("figcaption", *caption), picture, class_=class_)


def _cell(cell: Cell | Content, *, first: bool) -> Markup:
    given = cell if isinstance(cell, Cell) else Cell(cell, class_="text" if first else "number")
    note = [element("span", given.note, class_="sub")] if str(given.note) else []
    style = f"--bar-width:{100 * given.bar:.0f}%" if given.bar >= 0 else ""
    classes = f"{given.class_} bar" if style else given.class_
    if first:
        return element("th", given.main, *note, scope="row", class_=classes)
    return element("td", given.main, *note, class_=classes, style=style)
