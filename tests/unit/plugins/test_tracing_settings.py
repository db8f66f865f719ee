"""What the file and `OTEL_*` variables make of each other."""

from pathlib import Path

import msgspec
import pytest

from observed import exchange, host
from tidegate.errors import PluginError
from tidegate_plugins.otlp.config import Secret
from tidegate_plugins.tracing import plugin
from tidegate_plugins.tracing.config import TracingConfig
from tidegate_plugins.tracing.settings import Settings, settings

HERE = TracingConfig(endpoint="http://127.0.0.1:4318")


def found(config: TracingConfig = HERE, **environ: str) -> Settings:
    result = settings(config, environ)
    assert result is not None
    return result


@pytest.mark.parametrize(
    ("config", "environ"),
    [
        (TracingConfig(), {}),
        (TracingConfig(sample_ratio=1), {"OTEL_SERVICE_NAME": "x"}),
        (HERE, {"OTEL_SDK_DISABLED": "True"}),
        (HERE, {"OTEL_TRACES_EXPORTER": "none"}),
        (HERE, {"OTEL_TRACES_SAMPLER": "always_off"}),
        (TracingConfig(), {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://127.0.0.1:1"}),
        (HERE, {"OTEL_TRACES_EXPORTER": "console"}),
    ],
)
def test_no_traces_are_wanted(config: TracingConfig, environ: dict[str, str]) -> None:
    assert settings(config, environ) is None


@pytest.mark.parametrize(
    "name", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]
)
def test_an_endpoint_of_the_environment_is_left_to_the_exporter(name: str) -> None:
    it = found(TracingConfig(), **{name: "http://127.0.0.1:4318"})
    assert it.destination.endpoint is None


@pytest.mark.parametrize(
    ("endpoint", "protocol", "expected"),
    [
        ("http://h:4318", None, "http://h:4318/v1/traces"),
        ("http://h:4318/", None, "http://h:4318/v1/traces"),
        ("https://h/otlp", None, "https://h/otlp/v1/traces"),
        ("https://h/v1/traces", None, "https://h/v1/traces"),
        ("http://h:4317", "grpc", "http://h:4317"),
    ],
)
def test_the_endpoint_is_a_base_as_in_the_specification(
    endpoint: str, protocol: str | None, expected: str
) -> None:
    config = msgspec.convert({"endpoint": endpoint, "protocol": protocol}, TracingConfig)
    assert found(config).destination.endpoint == expected


def test_what_nothing_says() -> None:
    it = found()
    to = it.destination
    assert (to.protocol, it.ratio, it.follow_parent) == ("http/protobuf", 1.0, False)
    assert (to.timeout_s, to.compression, to.items_per_export) == (5.0, True, 512)


def test_what_the_environment_says() -> None:
    it = found(
        OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
        OTEL_TRACES_EXPORTER="otlp, console",
        OTEL_EXPORTER_OTLP_TIMEOUT="3000",
        OTEL_EXPORTER_OTLP_TRACES_COMPRESSION="none",
        OTEL_TRACES_SAMPLER="parentbased_traceidratio",
        OTEL_TRACES_SAMPLER_ARG="0.25",
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="64",
    )
    to = it.destination
    assert (to.protocol, it.ratio, it.follow_parent) == ("grpc", 0.25, True)
    assert (to.timeout_s, to.compression, to.items_per_export) == (3.0, False, 64)
    own = found(OTEL_EXPORTER_OTLP_TIMEOUT="3000", OTEL_EXPORTER_OTLP_TRACES_TIMEOUT="7000")
    assert own.destination.timeout_s == 7.0


@pytest.mark.parametrize(
    ("sampler", "ratio", "follow_parent"),
    [
        ("always_on", 1.0, False),
        ("parentbased_always_on", 1.0, True),
        ("parentbased_always_off", 0.0, True),
        ("traceidratio", 0.5, False),
    ],
)
def test_samplers_are_those_of_the_specification(
    sampler: str, ratio: float, follow_parent: bool
) -> None:
    it = found(OTEL_TRACES_SAMPLER=sampler, OTEL_TRACES_SAMPLER_ARG="0.5")
    assert (it.ratio, it.follow_parent) == (ratio, follow_parent)


def test_the_file_wins_over_the_environment() -> None:
    config = msgspec.structs.replace(HERE, protocol="http/protobuf", sample_ratio=0.5, timeout_s=2)
    it = found(
        config,
        OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
        OTEL_TRACES_SAMPLER="parentbased_always_on",
        OTEL_EXPORTER_OTLP_TIMEOUT="30",
    )
    to = it.destination
    assert (to.protocol, it.ratio, it.follow_parent) == ("http/protobuf", 0.5, False)
    assert to.timeout_s == 2


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "http/json"),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"}, "SAMPLER_ARG"),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "x"}, "SAMPLER_ARG"),
        ({"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "0"}, "BATCH_SIZE"),
        ({"OTEL_TRACES_SAMPLER": "jaeger_remote"}, "jaeger_remote"),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "5"}, "milliseconds"),
        ({"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "soon"}, "TRACES_TIMEOUT"),
    ],
)
def test_what_cannot_be_met_names_the_variable(environ: dict[str, str], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        settings(HERE, environ)


def test_header_values_are_secrets(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-a-file\n")
    headers = {
        "a": "plain-value",
        "b": Secret(env="TOKEN"),
        "c": Secret(file=str(tmp_path / "token")),
    }
    config = msgspec.structs.replace(HERE, headers=headers)
    it = found(config, TOKEN="from-the-environment")
    assert it.destination.headers == {
        "a": "plain-value",
        "b": "from-the-environment",
        "c": "from-a-file",
    }
    assert "plain-value" not in repr(config)
    assert "from-" not in repr(it)


@pytest.mark.parametrize("secret", [Secret(env="NOT_SET"), Secret(file="/nowhere/at/all")])
def test_a_missing_secret_is_an_error_that_names_the_header(secret: Secret) -> None:
    config = msgspec.structs.replace(HERE, headers={"authorization": secret})
    with pytest.raises(PluginError, match=r"headers\.authorization"):
        settings(config, {})


def test_a_secret_of_two_lines_cannot_split_a_header() -> None:
    config = msgspec.structs.replace(HERE, headers={"x": Secret(env="TOKEN")})
    with pytest.raises(PluginError, match="printable"):
        settings(config, {"TOKEN": "a\r\nx-other: b"})


@pytest.mark.parametrize(
    "written",
    [
        {"endpoint": "collector:4317"},
        {"protocol": "http/json"},
        {"sample_ratio": 1.5},
        {"timeout_s": 0},
        {"headers": {"x": {"env": "A", "file": "B"}}},
        {"endpont": "http://h"},
    ],
)
def test_a_wrong_file_is_refused(written: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(written, TracingConfig)


async def test_off_it_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    async with plugin.open(HERE, host("tracing")) as observer:
        await observer.on_record(exchange())
        assert await observer.flush() == b""
