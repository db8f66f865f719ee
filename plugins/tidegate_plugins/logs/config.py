"""What users write to configure logs: where they go."""

from tidegate_plugins.otlp.config import OtlpConfig


class LogsConfig(OtlpConfig, frozen=True):
    """Where log records go. What the file does not say, `OTEL_*` variables may."""
