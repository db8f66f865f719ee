"""The log record of an exchange: where it stands, how bad it is, what it says."""

import os

import pytest
from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource

from observed import AT, SONNET, SPAN, TRACE, exchange, host, refusal, trace
from tidegate.record import ExchangeRecord
from tidegate_plugins.logs import plugin
from tidegate_plugins.logs.config import LogsConfig
from tidegate_plugins.logs.entries import EntryBuilder
from tidegate_plugins.otlp.ids import child_id
from tidegate_plugins.otlp.settings import LOGS, destination

ENDPOINT = LogsConfig(endpoint="http://127.0.0.1:4318")


def entry(record: ExchangeRecord) -> ReadableLogRecord:
    (found,) = EntryBuilder(Resource.get_empty(), "1.2.3").build(record)
    return found


def test_it_is_about_the_operation_on_the_model_where_there_was_one() -> None:
    found = entry(exchange(7, trace=trace())).log_record
    assert found.timestamp == (int(AT) + 9) * 10**9
    assert found.event_name == "tidegate.exchange"
    assert f"{found.trace_id:032x}" == TRACE
    assert f"{found.span_id:016x}" == child_id("tg_00000007", "inference")
    assert found.body == f"POST /v1/messages {SONNET} complete 200 2.000 s"
    said = dict(found.attributes or {})
    assert (said["tidegate.id"], said["tidegate.team"]) == ("tg_00000007", "search")
    assert said["gen_ai.usage.output_tokens"] == 51
    assert said["http.response.status_code"] == 200
    assert "tidegate.kept_for" not in said


def test_otherwise_it_is_about_the_exchange() -> None:
    found = entry(refusal(trace=trace())).log_record
    assert f"{found.span_id:016x}" == SPAN
    assert found.body == "POST /v1/messages claude-opus-4-1 refused 404 models:not_allowed 0.002 s"
    assert not [name for name in found.attributes or {} if name.startswith("gen_ai.")]


def test_without_a_trace_it_has_no_ids() -> None:
    found = entry(exchange(trace=None)).log_record
    assert not found.trace_id
    assert not found.span_id


def test_the_callers_flag_is_told_as_it_was() -> None:
    assert entry(exchange(trace=trace(flags=0))).log_record.trace_flags == 0
    assert entry(exchange(trace=trace(flags=1))).log_record.trace_flags == 1


@pytest.mark.parametrize(
    ("record", "severity"),
    [
        (exchange(), SeverityNumber.INFO),
        (exchange(outcome="client_gone"), SeverityNumber.INFO),
        (exchange(outcome="upstream_error", status=429), SeverityNumber.WARN),
        (exchange(outcome="upstream_error", status=529), SeverityNumber.ERROR),
        (exchange(outcome="upstream_cut"), SeverityNumber.ERROR),
        (exchange(outcome="worker_lost", status=None), SeverityNumber.ERROR),
        (refusal(), SeverityNumber.WARN),
        (refusal(status=503, error_type="api_error"), SeverityNumber.ERROR),
        (refusal(route="probe", outcome="complete", status=200), SeverityNumber.DEBUG),
    ],
)
def test_how_bad_it_is(record: ExchangeRecord, severity: SeverityNumber) -> None:
    found = entry(record).log_record
    assert found.severity_number is severity
    assert found.severity_text == severity.name


def test_the_same_record_is_the_same_entry() -> None:
    assert entry(exchange(3)).to_json() == entry(exchange(3)).to_json()


def test_limits_of_the_environment_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3")
    assert dict(entry(exchange()).log_record.attributes or {})["tidegate.team"] == "sea"


def test_pointers_stay_in_the_journal() -> None:
    assert "/messages/0/content" not in entry(exchange()).to_json()


def test_the_variables_are_those_of_logs() -> None:
    found = destination(
        LogsConfig(),
        {
            "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://127.0.0.1:4318/v1/logs",
            "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT": "1500",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
            "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": "9",
        },
        LOGS,
    )
    assert found is not None
    assert (found.endpoint, found.timeout_s, found.protocol) == (None, 1.5, "http/protobuf")
    assert found.items_per_export == 9
    here = destination(ENDPOINT, {}, LOGS)
    assert here is not None
    assert here.endpoint == "http://127.0.0.1:4318/v1/logs"


@pytest.mark.parametrize("environ", [{"OTEL_LOGS_EXPORTER": "none"}, {"OTEL_SDK_DISABLED": "true"}])
async def test_off_it_keeps_nothing(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert destination(ENDPOINT, environ, LOGS) is None
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    for name, text in environ.items():
        monkeypatch.setenv(name, text)
    async with plugin.open(ENDPOINT, host("logs")) as observer:
        await observer.on_record(exchange())
        assert await observer.flush() == b""
