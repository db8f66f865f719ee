"""What users write to say where OTLP goes."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from tidegate.plugin import PluginConfig

Protocol = Literal["http/protobuf", "grpc"]
Seconds = Annotated[float, Meta(gt=0, le=60)]


class Secret(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a secret header value is: an environment variable, or a file."""

    env: str = ""
    file: str = ""

    def __post_init__(self) -> None:
        if bool(self.env) == bool(self.file):
            raise ValueError("give either `env` or `file`")


class OtlpConfig(PluginConfig, frozen=True):
    """Where one signal goes. What the file does not say, `OTEL_*` variables may."""

    endpoint: Annotated[
        str,
        Meta(
            pattern=r"^(https?://.+)?$",
            description="OTLP endpoint, such as http://127.0.0.1:4318; none: "
            "OTEL_EXPORTER_OTLP_ENDPOINT or the signal's own variable, or nothing is sent",
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
    max_pending: Annotated[
        int,
        Meta(ge=1, description="exchanges kept in memory; the others wait in the journal"),
    ] = 5_000

    def __repr__(self) -> str:
        return f"{type(self).__name__}(endpoint={self.endpoint!r}, protocol={self.protocol!r})"
