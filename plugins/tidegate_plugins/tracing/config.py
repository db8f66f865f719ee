"""What users write to configure tracing."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from tidegate.plugin import PluginConfig

Protocol = Literal["http/protobuf", "grpc"]
Seconds = Annotated[float, Meta(gt=0, le=60)]
Ratio = Annotated[float, Meta(ge=0, le=1)]


class Secret(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a secret header value is: an environment variable, or a file."""

    env: str = ""
    file: str = ""

    def __post_init__(self) -> None:
        if bool(self.env) == bool(self.file):
            raise ValueError("give either `env` or `file`")


class TracingConfig(PluginConfig, frozen=True):
    """Where traces go and which. What the file does not say, `OTEL_*` variables may."""

    endpoint: Annotated[
        str,
        Meta(
            pattern=r"^(https?://.+)?$",
            description="OTLP endpoint, such as http://127.0.0.1:4318; none: "
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT, or no traces",
        ),
    ] = ""
    protocol: Annotated[
        Protocol | None,
        Meta(description="http/protobuf (the default), or grpc with tidegate[grpc] installed"),
    ] = None
    headers: Annotated[
        dict[str, str | Secret],
        Meta(description="sent with each export; a value may be { env = … } or { file = … }"),
    ] = {}
    timeout_s: Annotated[
        Seconds | None, Meta(description="of one export with its retries; 5 if unset")
    ] = None
    service_name: Annotated[
        str, Meta(description="service.name of the resource; `tidegate` if nothing says another")
    ] = ""
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
    max_pending: Annotated[
        int,
        Meta(ge=1, description="exchanges kept in memory; the others wait in the journal"),
    ] = 5_000

    def __repr__(self) -> str:
        return f"TracingConfig(endpoint={self.endpoint!r}, protocol={self.protocol!r})"
