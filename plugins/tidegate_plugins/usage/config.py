"""What users write to configure the local usage database, and where that database is."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from tidegate.plugin import PluginConfig


class UsageConfig(PluginConfig, frozen=True):
    """How much is kept, and what it is priced with."""

    keep_days: Annotated[int, Meta(ge=1, le=3660, description="of figures by the hour")] = 400
    keep_hours: Annotated[int, Meta(ge=1, le=744, description="of figures by the minute")] = 48
    latest: Annotated[int, Meta(ge=0, le=10_000, description="exchanges listed one by one")] = 500
    max_mib: Annotated[
        int, Meta(ge=4, description="size of the database; the oldest hours go when it is reached")
    ] = 512
    group_limit: Annotated[
        int,
        Meta(
            ge=1,
            description="combinations of team, principal, model, route and outcome in one hour; "
            "later ones are `other`",
        ),
    ] = 2000
    prices: Annotated[
        str | None, Meta(description="a file of prices that adds to the shipped ones")
    ] = None
    redactors: Annotated[
        tuple[str, ...],
        Meta(description="names of the plugins whose edits and findings are redactions"),
    ] = ("redact",)


def database_path(state_dir: Path, name: str) -> Path:
    """Return where the database of the plugin called `name` is."""
    return state_dir / "usage" / f"{name}.sqlite"
