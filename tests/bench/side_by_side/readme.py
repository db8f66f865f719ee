"""The README's own copy of the latest results, between two comments."""

from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"


def put(name: str, text: str, readme: Path = README) -> None:
    """Replace what stands between `<!-- name -->` and `<!-- /name -->`.

    Raises:
        ValueError: there is no such place.
    """
    before, opening, rest = readme.read_text().partition(f"<!-- {name} -->\n")
    _, closing, after = rest.partition(f"<!-- /{name} -->")
    if not closing:
        raise ValueError(f"{readme.name} has no place for {name}")
    readme.write_text(f"{before}{opening}\n{text.strip()}\n\n{closing}{after}")
