"""A made-up month: the series that a gateway shows, stretched by a rhythm of days and weeks.

Names, labels and buckets are the gateway's own. What they count is not: it is there so that panels
of long ranges have something to show.
"""

import math
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from zlib import crc32

from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

FAMILIES = (
    *("tidegate_requests", "tidegate_tokens", "tidegate_cost_usd", "tidegate_reasoning_tokens"),
    *("tidegate_server_tool_requests", "tidegate_usage_sources", "tidegate_usage_unparsed"),
    *("tidegate_cost_unpriced_requests", "tidegate_request_tokens"),
)
LABELS = {"job": "tidegate", "instance": "gateway-1:9464", "environment": "made-up-month"}
PER_DAY = 60.0
"""How often a working day repeats what was counted."""


def backfill(text: str, data: Path, ended_s: int, days: int, step_s: int) -> None:
    """Write blocks for Prometheus to `data`, up to `ended_s`, of an OpenMetrics exposition."""
    data.mkdir(parents=True, exist_ok=True)
    times = range(ended_s - days * 86400 + step_s, ended_s + 1, step_s)
    with tempfile.NamedTemporaryFile("w", suffix=".om") as file:
        file.writelines(_lines(text, times))
        file.flush()
        # Blocks of two hours, which are usual, would read the whole file for each of them.
        longer = f"--max-block-duration={days * 24}h"
        make = ("promtool", "tsdb", "create-blocks-from", longer, "openmetrics")
        command = (*make, file.name, str(data))
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _lines(text: str, times: range) -> Iterator[str]:
    grown: dict[str, list[float]] = {}
    for family in text_string_to_metric_families(text):
        if family.name not in FAMILIES:
            continue
        yield f"# TYPE {family.name} {family.type}\n"
        for sample in family.samples:
            if sample.name.endswith("_created") or not sample.value:
                continue
            whose = _whose(sample.labels)
            if whose not in grown:
                grown[whose] = _grown(whose, times)
            factors = [1.0] * len(times) if family.type == "gauge" else grown[whose]
            name = _series(sample)
            for at, factor in zip(times, factors, strict=True):
                yield f"{name} {sample.value * factor:.9g} {at}\n"
    yield "# EOF\n"


def _series(sample: Sample) -> str:
    labels = ",".join(f'{name}="{value}"' for name, value in (sample.labels | LABELS).items())
    return f"{sample.name}{{{labels}}}"


def _whose(labels: Mapping[str, str]) -> str:
    """Return what has a rhythm of its own: a team and a model, as far as a series has them."""
    return f"{labels.get('team', '')} {labels.get('model', '')}"


def _grown(whose: str, times: range) -> list[float]:
    """Return by how much something has grown, at each of these times."""
    seed = crc32(whose.encode())
    total, found = 0.0, []
    for at in times:
        total += _pace(at, seed) * PER_DAY * times.step / 86400
        found.append(total)
    return found


def _pace(at: int, seed: int) -> float:
    """Return how busy it is: at night and on weekends less, and each one with a swing of its own."""
    when = datetime.fromtimestamp(at, UTC)
    day = 1 + 0.9 * math.sin((when.hour + when.minute / 60 - 8 - seed % 3) / 24 * 2 * math.pi)
    week = 0.25 if when.weekday() > 4 else 1.0
    swing = 1 + 0.5 * math.sin(at / 86400 / (1.7 + seed % 5) + seed % 7)
    noise = 0.8 + 0.4 * (crc32(f"{at} {seed}".encode()) / 2**32)
    return day * week * swing * noise
