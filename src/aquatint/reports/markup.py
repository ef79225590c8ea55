"""Templates of pages; every value that they show is escaped."""

from jinja2 import DictLoader, Environment, StrictUndefined

from aquatint.reports.templates import (
    fans,
    flights,
    flown,
    gallery,
    goals,
    objects,
    page,
    pointed,
)

# Templates are Python text, not files: then a changed one makes the report stale, like all code.
TEMPLATES = Environment(
    loader=DictLoader(
        {
            "fans.html": fans.HTML,
            "flown.html": flown.HTML,
            "flights.html": flights.HTML,
            "gallery.html": gallery.HTML,
            "goals.html": goals.HTML,
            "pointed.html": pointed.HTML,
            "objects.html": objects.OBJECTS,
            "photos.html": objects.PHOTOS,
            "page.html": page.HTML,
        }
    ),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
