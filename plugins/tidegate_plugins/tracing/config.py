"""What users write to configure tracing."""

from typing import Annotated

from msgspec import Meta

from tidegate_plugins.otlp.config import OtlpConfig

Ratio = Annotated[float, Meta(ge=0, le=1)]


class TracingConfig(OtlpConfig, frozen=True):
    """Where traces go and which. What the file does not say, `OTEL_*` variables may."""

    sample_ratio: Annotated[
        Ratio | None,
        Meta(
            description="share of ordinary exchanges, 1 if unset; errors, refusals, edited and "
            "slow ones are always sent"
        ),
    ] = None
    slow_s: Annotated[
        float, Meta(gt=0, description="an exchange that takes this long is always sent")
    ] = 60.0
    slow_policy_ms: Annotated[
        float,
        Meta(ge=0, description="a policy that takes this long gets a span and not only an event"),
    ] = 50.0
