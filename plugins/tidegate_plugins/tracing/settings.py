"""What the file and the environment say together about traces."""

from collections.abc import Mapping
from dataclasses import dataclass

from tidegate.errors import PluginError
from tidegate_plugins.otlp.settings import TRACES, Destination, destination
from tidegate_plugins.tracing.config import TracingConfig

_SAMPLERS = frozenset(
    {"always_on", "always_off", "traceidratio", "parentbased_always_on"}
    | {"parentbased_always_off", "parentbased_traceidratio"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where traces go, and which."""

    destination: Destination
    ratio: float
    follow_parent: bool
    """Leave the decision to the caller where it has made one."""
    slow_s: float
    slow_policy_ms: float


def settings(config: TracingConfig, environ: Mapping[str, str]) -> Settings | None:
    """Return the settings, or None if no traces are wanted.

    Raises:
        PluginError: they cannot be met.
    """
    where = destination(config, environ, TRACES)
    sampler = environ.get("OTEL_TRACES_SAMPLER", "").strip() if config.sample_ratio is None else ""
    if sampler and sampler not in _SAMPLERS:
        known = ", ".join(sorted(_SAMPLERS))
        raise PluginError(f"OTEL_TRACES_SAMPLER: {sampler!r} is not supported; use one of {known}")
    if where is None or sampler == "always_off":
        return None
    return Settings(
        destination=where,
        ratio=_ratio(config.sample_ratio, sampler, environ),
        follow_parent=sampler.startswith("parentbased_"),
        slow_s=config.slow_s,
        slow_policy_ms=config.slow_policy_ms,
    )


def _ratio(configured: float | None, sampler: str, environ: Mapping[str, str]) -> float:
    if configured is not None:
        return configured
    if sampler.endswith("always_off"):
        return 0.0
    if not sampler.endswith("traceidratio"):
        return 1.0
    try:
        ratio = float(environ.get("OTEL_TRACES_SAMPLER_ARG") or 1)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise PluginError("OTEL_TRACES_SAMPLER_ARG: must be a number from 0 to 1")
    return ratio
