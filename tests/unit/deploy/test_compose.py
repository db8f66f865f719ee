"""What compose brings fits together: files that exist, ports that answer, times that add up."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tidegate.registry import resolve
from tidegate.supervisor import LINGER_S

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
AFTERWARDS_S = 2 * LINGER_S
"""What workers and then observers may take beyond the drain."""


def read(name: str) -> Any:
    return yaml.safe_load((DEPLOY / "compose" / name).read_text())


def gateway() -> Any:
    config, _ = resolve((DEPLOY / "compose/tidegate.toml").read_text())
    return config


def listening() -> dict[str, set[int]]:
    """The ports of each service, from where each of them has it."""
    otlp = read("collector.yaml")["receivers"]["otlp"]["protocols"]
    reader = read("collector.yaml")["service"]["telemetry"]["metrics"]["readers"][0]
    tempo = read("tempo.yaml")
    received = tempo["distributor"]["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"]
    simulator = SERVICES["simulator"]["command"]
    return {
        "gateway": {gateway().listen.port, gateway().admin.port},
        "collector": {port(each["endpoint"]) for each in otlp.values()}
        | {reader["pull"]["exporter"]["prometheus"]["port"]},
        "tempo": {tempo["server"]["http_listen_port"], port(received)},
        "loki": {read("loki.yaml")["server"]["http_listen_port"]},
        "simulator": {int(simulator[simulator.index("--port") + 1])},
        # Their own defaults.
        "redis": {6379},
        "prometheus": {9090},
        "alertmanager": {9093},
        "grafana": {3000},
    }


def port(address: str) -> int:
    return int(address.rpartition(":")[2])


def addresses() -> Iterator[tuple[str, str]]:
    """Every `SERVICE:PORT` in what compose brings."""
    files = [path for path in (DEPLOY / "compose").rglob("*") if path.is_file()]
    for path in [DEPLOY / "compose.yaml", *files]:
        text = re.sub(r"(?m)^ *image:.*$", "", path.read_text())
        for name in SERVICES:
            for found in re.findall(rf"(?<![\w.-]){name}:\d+", text):
                yield path.name, found


def test_compose_speaks_to_ports_that_are_listened_on():
    known = listening()
    found = list(addresses())
    wrong = [(at, a) for at, a in found if port(a) not in known[a.partition(":")[0]]]
    assert wrong == []
    assert {a.partition(":")[0] for _, a in found} == SERVICES.keys() - {"grafana"}


def test_compose_publishes_ports_that_are_listened_on_to_this_machine_only():
    for name, service in SERVICES.items():
        for published in service.get("ports", ()):
            host, _, inside = published.rpartition(":")
            assert host.startswith("127.0.0.1:")
            assert int(inside) in listening()[name]


def test_compose_mounts_what_is_there_and_what_is_declared():
    for service in SERVICES.values():
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists(), source
                assert mount.endswith(":ro")
            else:
                assert source in COMPOSE["volumes"]


def test_compose_pins_images_and_waits_for_services_that_can_say_they_are_well():
    healthy = {
        name for name, service in SERVICES.items() if "test" in service.get("healthcheck", {})
    }
    for service in SERVICES.values():
        assert re.search(r":(v?\d+\.\d+\.\d+|local$)", service["image"])
        for name, needed in service.get("depends_on", {}).items():
            if needed["condition"] == "service_healthy":
                assert name in healthy | {"gateway"}  # whose check is in the image
            else:
                assert needed["condition"] == "service_started"


def test_compose_gives_the_gateway_time_to_drain():
    grace = SERVICES["gateway"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) >= gateway().listen.drain_s + AFTERWARDS_S


def test_grafana_looks_for_dashboards_where_they_are_mounted():
    provider = read("grafana/provisioning/dashboards/tidegate.yaml")["providers"][0]
    targets = {mount.split(":")[1] for mount in SERVICES["grafana"]["volumes"]}
    assert provider["options"]["path"] in targets


def test_the_collectors_pipelines_use_what_is_configured():
    collector = read("collector.yaml")
    for pipeline in collector["service"]["pipelines"].values():
        for kind in ("receivers", "processors", "exporters"):
            assert set(pipeline[kind]) <= collector[kind].keys()


def test_the_gateway_of_compose_uses_what_compose_brings():
    config = gateway()
    uses = {plugin.label: plugin.config for plugin in config.plugins}
    assert uses["tracing"]["endpoint"] == uses["logs"]["endpoint"] == "http://collector:4318"
    assert uses["quota"]["store"].startswith("redis://redis:")
