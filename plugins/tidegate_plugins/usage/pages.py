"""The page on the admin port: files of this package, and one JSON document from the database."""

from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path

import msgspec

from tidegate.plugin import Page
from tidegate_plugins.usage import queries
from tidegate_plugins.usage.view import DEFAULT_RANGE, view

FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/usage/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/usage/charts.js": ("charts.js", "text/javascript; charset=utf-8"),
    "/usage/style.css": ("style.css", "text/css; charset=utf-8"),
    "/usage/icon.svg": ("icon.svg", "image/svg+xml"),
    "/usage/uPlot.js": ("uPlot.iife.min.js", "text/javascript; charset=utf-8"),
    "/usage/uPlot.css": ("uPlot.min.css", "text/css; charset=utf-8"),
}
DATA = "/usage/data.json"


def page(database: Path, path: str, query: Mapping[str, str], now: float) -> Page | None:
    """Return what is at a path, or None."""
    if path == DATA:
        return _data(database, query.get("range", DEFAULT_RANGE), now)
    if path not in FILES:
        return None
    name, content_type = FILES[path]
    return Page(body=_file(name), content_type=content_type)


@cache
def _file(name: str) -> bytes:
    return (resources.files(__package__) / "assets" / name).read_bytes()


def _data(database: Path, name: str, now: float) -> Page:
    try:
        with queries.reading(database) as db:
            found = view(db, name, now)
    except queries.NoDatabase:
        found = {"now": now, "began": None}
    return Page(body=msgspec.json.encode(found), content_type="application/json")
