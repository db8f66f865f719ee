"""What users write to configure metrics."""

from typing import Annotated

from msgspec import Meta

from tidegate.plugin import PluginConfig


class MetricsConfig(PluginConfig, frozen=True):
    """How far the labels of the metrics may spread."""

    label_limit: Annotated[
        int,
        Meta(ge=1, le=10_000, description="distinct values of one label; later ones are `other`"),
    ] = 200
    models: Annotated[
        tuple[str, ...],
        Meta(
            description="model ids, or globs, that may be label values; if empty, every id that "
            "looks like `claude-…`"
        ),
    ] = ()
    prices: Annotated[
        str,
        Meta(description="file that adds to the shipped prices and overrides them, for the cost"),
    ] = ""
    redactors: Annotated[
        tuple[str, ...],
        Meta(description="names of the plugins whose edits and findings are redactions"),
    ] = ("redact",)
    ratelimit_stale_s: Annotated[
        float,
        Meta(gt=0, description="seconds after which an upstream rate limit is no longer shown"),
    ] = 300.0
    worker_stale_s: Annotated[
        float,
        Meta(gt=0, description="seconds after which a silent worker is no longer shown"),
    ] = 120.0
