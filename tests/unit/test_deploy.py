"""What is shipped to deploy with fits together: files that exist, ports that answer, times that add up."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
import yaml

from tidegate.config import load
from tidegate.registry import resolve
from tidegate.supervisor import LINGER_S

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
CHART = DEPLOY / "helm/tidegate"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
AFTERWARDS_S = 2 * LINGER_S
"""What workers and then observers may take beyond the drain."""


# compose


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


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_prometheus_takes_its_configuration(tmp_path: Path):
    text = (DEPLOY / "compose/prometheus.yml").read_text()
    mounts = dict(mount.split(":")[1::-1] for mount in SERVICES["prometheus"]["volumes"])
    inside = "/etc/prometheus/rules"
    assert inside in text
    config = tmp_path / "prometheus.yml"
    config.write_text(text.replace(inside, str(DEPLOY / mounts[inside])))
    run("promtool", "check", "config", str(config))


# systemd


UNIT = DEPLOY / "systemd/tidegate.service"


def test_systemd_gives_the_gateway_time_to_drain():
    (stop,) = re.findall(r"(?m)^TimeoutStopSec=(\d+)$", UNIT.read_text())
    assert int(stop) >= load(None).listen.drain_s + AFTERWARDS_S


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_takes_the_unit_and_finds_it_confined(tmp_path: Path):
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/tidegate/bin/tidegate", "/bin/true"))
    complaints = run("systemd-analyze", "verify", "--man=no", str(unit)).stderr
    assert unit.name not in complaints
    # 0.0 is confined, 10.0 is not; the threshold is in tenths.
    run("systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=20", str(unit))


# the image


DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
STEPS = re.findall(r"(?m)^([A-Z]+) ((?:.*\\\n)*.*)$", DOCKERFILE)


def test_the_image_copies_what_is_there_and_what_the_context_has():
    context = (ROOT / ".dockerignore").read_text().splitlines()
    sources = [
        source
        for name, words in STEPS
        if name == "COPY" and not words.startswith("--from")
        for source in words.split()[:-1]
    ]
    assert sources
    for source in sources:
        assert (ROOT / source).exists()
        assert f"!{source}" in context


def test_the_image_runs_as_nobody_and_ends_by_a_signal():
    steps = dict(STEPS)  # the last of each
    assert steps["USER"] == "10001:10001"
    assert steps["STOPSIGNAL"] == "SIGTERM"
    entry, command = json.loads(steps["ENTRYPOINT"]), json.loads(steps["CMD"])
    assert [*entry, *command][:2] == ["tidegate", "serve"]
    assert {int(word) for word in steps["EXPOSE"].split()} == {8080, 9464}


def test_every_file_of_the_lock_has_hashes_and_no_address():
    for lock in (DEPLOY / "locks").glob("*.txt"):
        text = lock.read_text()
        entries = re.split(r"(?m)^(?=[a-z0-9-]+==)", text)[1:]
        assert entries
        assert all("--hash=sha256:" in entry for entry in entries)
        assert "://" not in text


# helm


def references() -> set[str]:
    """Every `.Values.a.b` that the templates read."""
    texts = [path.read_text() for path in (CHART / "templates").iterdir()]
    return {name for text in texts for name in re.findall(r"\.Values\.([\w.]+)", text)}


def test_the_templates_read_values_that_there_are():
    for name in references():
        value: Any = VALUES
        for part in name.split("."):
            assert part in value, name
            value = value[part]


def test_the_values_keep_the_schema_and_the_schema_names_all_of_them():
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(VALUES, schema)
    assert schema["properties"].keys() - {"global"} == VALUES.keys()
    for name, table in schema["properties"].items():
        if "properties" in table:
            assert table["properties"].keys() == VALUES[name].keys()


@pytest.mark.parametrize(
    "wrong",
    [
        {"image": {"repository": "tidegate", "digest": "latest"}},
        {"config": "[listen]\nport = 1\n"},
        {"config": 'a = 1\n[admin]\nhost = "0.0.0.0"\n'},
        {"journal": {"kind": "hostPath"}},
        {"replica": 3},
    ],
)
def test_the_schema_refuses(wrong: dict[str, Any]):
    schema = json.loads((CHART / "values.schema.json").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(VALUES | wrong, schema)


def test_the_configuration_of_the_chart_is_one():
    config, _ = resolve(VALUES["config"])
    assert {plugin.use for plugin in config.plugins} >= {"identify", "redact", "metrics"}


def test_the_chart_brings_the_dashboards_and_rules():
    for name, there in {"dashboards": "*.json", "rules": "*.rules.yml"}.items():
        assert list((CHART / "files" / name).glob(there))


# Every kind of object that the chart can bring.
EVERYTHING = {
    "autoscaling": {"enabled": True},
    "monitoring": {"serviceMonitor": True, "prometheusRule": True},
    "networkPolicy": {"clientNamespaces": ["search", "research"]},
}


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What a real Helm makes of the chart."""
    helm = shutil.which("helm") or os.environ.get("HELM")
    if not helm:
        pytest.skip("helm is not installed; deploy/README.md says how to check the chart")
    values = tmp_path_factory.mktemp("helm") / "values.json"
    values.write_text(json.dumps(EVERYTHING))
    run(helm, "lint", "--strict", str(CHART), "--values", str(values))
    known = ("--kube-version", "1.31.0")  # what a helm built from source assumes is older
    made = run(helm, "template", "gate", str(CHART), *known, "--values", str(values)).stdout
    return [each for each in yaml.safe_load_all(made) if each]


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [each for each in objects if each["kind"] == kind]


def test_helm_makes_every_kind(objects: list[dict[str, Any]]):
    assert {each["kind"] for each in objects} == {
        "ConfigMap", "Deployment", "HorizontalPodAutoscaler", "NetworkPolicy",
        "PodDisruptionBudget", "PrometheusRule", "Service", "ServiceMonitor",
    }  # fmt: skip


def test_a_pod_may_drain_before_it_is_killed(objects: list[dict[str, Any]]):
    (deployment,) = of_kind(objects, "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (config,) = [each for each in of_kind(objects, "ConfigMap") if "tidegate.toml" in each["data"]]
    drain_s = load(config["data"]["tidegate.toml"]).listen.drain_s
    slept_s = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] >= slept_s + drain_s + AFTERWARDS_S


def test_the_dashboards_and_rules_arrive_unchanged(objects: list[dict[str, Any]]):
    data = {k: v for each in of_kind(objects, "ConfigMap") for k, v in each["data"].items()}
    for path in (ROOT / "dashboards/grafana").glob("*.json"):
        assert json.loads(data[path.name]) == json.loads(path.read_text())
    groups = [each["spec"]["groups"] for each in of_kind(objects, "PrometheusRule")]
    files = sorted((ROOT / "dashboards/prometheus").glob("*.rules.yml"))
    assert groups == [yaml.safe_load(path.read_text())["groups"] for path in files]


# supply chain


def materials() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sbom", DEPLOY / "sbom.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sbom"] = module
    spec.loader.exec_module(module)
    return module


def test_the_bill_of_materials_is_that_of_the_lock():
    sbom = materials()
    found = sbom.packages(sbom.LOCK.read_text())
    written = json.loads(sbom.SBOM.read_text())
    licences = sbom.licences_of(found, written)
    again = "python deploy/sbom.py"
    assert sbom.bill(found, licences) == written, again
    assert sbom.listing(found, licences) == sbom.LICENCES.read_text(), again


def test_every_licence_may_be_used():
    """Permissive ones, and that of certifi, which is a file of certificates."""
    written = json.loads((DEPLOY / "sbom.json").read_text())
    stated = {c["name"]: c["licenses"][0]["expression"] for c in written["components"]}
    assert stated.pop("certifi") == "MPL-2.0"
    words = {word for text in stated.values() for word in re.split(r" AND | OR ", text)}
    assert words <= {
        "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "MIT", "MIT-0", "PSF-2.0",
    }  # fmt: skip


def test_direct_dependencies_are_at_most_a_dozen():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    optional = [line for name in extras if name not in ("all", "dev") for line in extras[name]]
    assert len(project["dependencies"] + optional) <= 12


def test_a_wheel_is_the_same_whenever_it_is_built(tmp_path: Path):
    wheels = []
    for name in ("one", "two"):
        source = tmp_path / name
        source.mkdir()
        for part in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copyfile(ROOT / part, source / part)  # with another time of its own
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "gateway", source / "gateway", ignore=ignored)
        shutil.copytree(ROOT / "plugins", source / "plugins", ignore=ignored)
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel"]
        environment = os.environ | {"SOURCE_DATE_EPOCH": "1767225600"}
        subprocess.run(build, cwd=source, env=environment, check=True, capture_output=True)
        (wheel,) = (source / "dist").iterdir()
        wheels.append(wheel.read_bytes())
        os.utime(source / "gateway/tidegate/__init__.py", (1, 1))
    assert wheels[0] == wheels[1]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done
