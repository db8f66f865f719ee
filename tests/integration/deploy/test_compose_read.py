"""What compose brings, as the programs see it that have to read it."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support import caches
from support.programs import run

pytestmark = pytest.mark.timeout(900)  # programs are built

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = ROOT / "deploy/compose.yaml"
COLLECTOR = ROOT / "deploy/compose/collector.yaml"


def needed(program: str, package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        not shutil.which(program) and os.environ.get("CI") != "true",
        reason=f"{program} (package {package}) is not installed",
    )


def config(file: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [caches.docker_compose(), "-f", file, "config", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_docker_compose_reads_the_file_without_a_word() -> None:
    done = config(COMPOSE, "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_docker_compose_waits_for_nothing_that_waits_for_it() -> None:
    """The services that a digest is asked for are those that do not need the image built here."""
    named = ("collector", "grafana", "redis")
    images = config(COMPOSE, "--images", *named).stdout.split()
    others = {image for image in config(COMPOSE, "--images").stdout.split() if "local" not in image}
    assert set(images) == others
    assert f"--lock-image-digests {' '.join(named)} " in (ROOT / "deploy/README.md").read_text()


def test_docker_compose_forwards_to_the_upstream_that_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TIDEGATE_UPSTREAM", "https://llm.example.com")
    services = json.loads(config(COMPOSE, "--format", "json").stdout)["services"]
    assert services["gateway"]["command"][-2:] == ["--upstream", "https://llm.example.com"]


def test_docker_compose_would_notice(tmp_path: Path) -> None:
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(COMPOSE.read_text().replace("stop_grace_period", "stop_grace"))
    assert "stop_grace" in config(wrong, "--quiet").stderr


def test_the_collector_takes_its_configuration() -> None:
    run(caches.otel_collector(), "validate", f"--config=file:{COLLECTOR}")


def test_the_collector_would_notice(tmp_path: Path) -> None:
    wrong = tmp_path / "collector.yaml"
    wrong.write_text(COLLECTOR.read_text().replace("batch: {}", "batch: {size: 1}"))
    command = [caches.otel_collector(), "validate", f"--config=file:{wrong}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "size" in done.stderr


def test_the_collector_of_compose_is_the_one_asked() -> None:
    (asked,) = re.findall(
        r"(?m)^\tgo.opentelemetry.io/collector/otelcol v(\S+)$",
        (ROOT / "tests/support/collector/go.mod").read_text(),
    )
    assert f"opentelemetry-collector:{asked}\n" in COMPOSE.read_text()


@needed("promtool", "prometheus")
def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    text = (ROOT / "deploy/compose/prometheus.yml").read_text()
    inside = "/etc/prometheus/rules"
    assert f"../dashboards/prometheus:{inside}:ro" in COMPOSE.read_text()
    file = tmp_path / "prometheus.yml"
    file.write_text(text.replace(inside, str(ROOT / "dashboards/prometheus")))
    run("promtool", "check", "config", file)


@needed("amtool", "prometheus-alertmanager")
def test_alertmanager_takes_the_routes() -> None:
    run("amtool", "check-config", ROOT / "dashboards/prometheus/alertmanager.example.yml")


@needed("amtool", "prometheus-alertmanager")
@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (["alertname=TidegateDown", "severity=page"], "pages"),
        (["alertname=TidegateSpendSpike", "severity=ticket"], "finops"),
        (["alertname=TidegateJournalSlow", "severity=ticket"], "tickets"),
    ],
)
def test_alertmanager_brings_an_alert_to_whom_it_concerns(labels: list[str], receiver: str) -> None:
    routes = ROOT / "dashboards/prometheus/alertmanager.example.yml"
    said = run("amtool", "config", "routes", "test", f"--config.file={routes}", *labels)
    assert said.stdout.split() == [receiver]
