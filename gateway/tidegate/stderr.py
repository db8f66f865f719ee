"""What the processes say on standard error: text for people, or a JSON object a line for machines.

Also the observer behind `log.exchanges`: one line for each exchange that is over, written by
the observatory from the journal, so that no worker spends time on it.
"""

import datetime
import json
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tidegate.config import Plugin
from tidegate.journal.show import readable
from tidegate.plugin import Host, Observer, PluginConfig, PluginSpec
from tidegate.record import ExchangeRecord, Record
from tidegate.registry import Chosen

FORMAT_VARIABLE = "TIDEGATE_LOG_FORMAT"
"""How the supervisor tells its children the format."""

EXCHANGE_PREFIX = "tg_"

exchanges = logging.getLogger("tidegate.exchange")


def configure(process: str, *, text_name: str = "") -> None:
    """Let this process log as `log.format` and TIDEGATE_LOG_LEVEL say.

    `process` is its name in JSON; `text_name` is what stands before the logger in text.
    """
    handler = logging.StreamHandler(sys.stderr)
    if os.environ.get(FORMAT_VARIABLE) == "json":
        handler.setFormatter(JsonLines(process))
    else:
        name = f"{text_name} " if text_name else ""
        handler.setFormatter(
            logging.Formatter(f"%(asctime)s %(levelname)s {name}%(name)s: %(message)s")
        )
    logging.basicConfig(level=os.environ.get("TIDEGATE_LOG_LEVEL", "INFO"), handlers=[handler])


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, process, message, and what belongs to it."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        at = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, Any] = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": self._process,
            "pid": record.process,
            "message": record.getMessage(),
        }
        if exchange := _exchange_of(record):
            line["exchange"] = exchange
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def _exchange_of(record: logging.LogRecord) -> str:
    """Return the id of the exchange that a message names, if it names one."""
    found = record.args if isinstance(record.args, tuple) else ()
    return next((x for x in found if isinstance(x, str) and x.startswith(EXCHANGE_PREFIX)), "")


class ExchangeLines:
    """Logs a line for each exchange from its first start on; not what was before that."""

    def __init__(self, host: Host) -> None:
        self._since = 0.0 if host.state else host.clock.now()

    async def on_record(self, record: Record) -> None:
        """Log it, if it is an exchange."""
        if isinstance(record, ExchangeRecord) and ended_at(record) >= self._since:
            text = readable(record, colour=False)
            exchanges.info("%s", text, extra={"fields": canonical(record)})

    async def flush(self) -> bytes:
        """There is nothing to wait for."""
        return b"begun"


def ended_at(record: ExchangeRecord) -> float:
    """Return when it was over, in seconds since the epoch."""
    return record.at + record.timing_ms.total / 1000


def canonical(record: ExchangeRecord) -> dict[str, Any]:
    """Return what the line of an exchange says, flat; what is not known is left out."""
    usage, timing, refused = record.usage, record.timing_ms, record.refused_by
    fields: dict[str, Any] = {
        "exchange": record.id,
        "outcome": record.outcome,
        "status": record.status,
        "route": record.route,
        "stream": record.stream,
        "principal": record.principal.id,
        "team": record.principal.team,
        "model": record.model.asked,
        "upstream": record.upstream,
        "stop_reason": record.stop_reason,
        "error_type": record.error_type,
        "refused_by": f"{refused.plugin}:{refused.rule}" if refused is not None else None,
        "edits": len(record.edits) or None,
        "input_tokens": usage.input if usage is not None else None,
        "cache_read_tokens": usage.cache_read if usage is not None else None,
        "cache_write_tokens": usage.cache_write_5m + usage.cache_write_1h if usage else None,
        "output_tokens": usage.output if usage is not None else None,
        "duration_ms": timing.total,
        "first_token_ms": timing.first_token,
        "overhead_ms": timing.overhead,
        "request_bytes": record.bytes.request_in,
        "response_bytes": record.bytes.response,
        "trace_id": record.trace.trace_id if record.trace is not None else None,
        "session": record.client.session,
        "agent": record.client.agent,
        "upstream_request_id": record.upstream_request_id,
    }
    return {name: value for name, value in fields.items() if value is not None}


@asynccontextmanager
async def _open(_: PluginConfig, host: Host) -> AsyncIterator[Observer]:
    yield ExchangeLines(host)


LINES = Chosen(
    Plugin(use="exchange-lines"),
    PluginSpec(
        config=PluginConfig, open=_open, summary="A line on standard error for each exchange."
    ),
    PluginConfig(),
)
"""The observer, as if it had been chosen in the file."""
