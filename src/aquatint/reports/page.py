"""One page that needs nothing but itself: no network, no files beside it."""

from __future__ import annotations

import json
from typing import Any

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from aquatint.reports.blocks import Section
from aquatint.reports.markup import TEMPLATES
from aquatint.reports.templates import script, style


def render_page(title: str, lead: str, sections: list[Section]) -> str:
    """Return a page as HTML; every text in it is escaped, only galleries are put in as they are.

    Args:
        title: Title.
        lead: What the page is about, below its title.
        sections: Sections in order.
    """
    html = TEMPLATES.get_template("page.html").render(
        title=title,
        lead=lead,
        sections=sections,
        style=Markup(style.CSS),
        script=Markup(script.JAVASCRIPT),
        plotly=Markup(get_plotlyjs()),
        figure_json=_figure_json,
        trusted=Markup,
    )
    return html.strip() + "\n"


def _figure_json(figure: Any) -> Markup:  # noqa: ANN401 - Figure
    """Return a figure as JSON that cannot end the element it stands in."""
    text = json.dumps(json.loads(figure.to_json()), sort_keys=True, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
