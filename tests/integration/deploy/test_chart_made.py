"""What a real Helm makes of the chart is what Kubernetes takes, and says what it should."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from support import caches, kubernetes
from support.programs import run
from tidegate.config import load
from tidegate.supervisor import LINGER_S

pytestmark = pytest.mark.timeout(900)  # programs are built

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "deploy/helm/tidegate"
PEER = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "web"}}}
LABELS = {"matchLabels": {"app.kubernetes.io/name": "tidegate"}}
SPREAD = {"topologyKey": "kubernetes.io/hostname", "labelSelector": LABELS}
EVERYTHING: dict[str, Any] = {
    "image": {"repository": "registry.example.com/tidegate", "digest": f"sha256:{'0' * 64}"},
    "imagePullSecrets": [{"name": "registry"}],
    "env": [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector:4318"}],
    "service": {"type": "LoadBalancer", "port": 443, "annotations": {"example.com/idle": "610"}},
    "journal": {"kind": "ephemeral", "storageClass": "fast"},
    "autoscaling": {"enabled": True},
    "podDisruptionBudget": {"maxUnavailable": "25%"},
    "networkPolicy": {
        "clients": [PEER],
        "upstreamCidrs": ["0.0.0.0/0", "::/0", "192.0.2.0/24"],
        "egress": [{"ports": [{"port": 6379}], "to": [PEER]}],
        "clientNamespaces": ["search", "research"],
    },
    "monitoring": {"serviceMonitor": True, "prometheusRule": True, "labels": {"release": "p"}},
    "podAnnotations": {"example.com/a": "b"},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "egress", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {
        "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [SPREAD]},
    },
}
NOTHING: dict[str, Any] = {
    "podDisruptionBudget": {"enabled": False},
    "networkPolicy": {"enabled": False},
    "monitoring": {"dashboards": False},
    "drainSeconds": 0,
    "preStopSeconds": 0,
}
CLAIM = {"journal": {"kind": "claim", "claim": "journals"}}
CLOSED = {"networkPolicy": {"clients": [PEER], "monitoring": [], "upstreamCidrs": ["192.0.2.7/32"]}}


def template(values: dict[str, Any], tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Make what a release named `gate` is."""
    file = tmp_path / "values.json"
    file.write_text(json.dumps(values))
    known = ["--kube-version", "1.31.0"]  # what a helm built from source assumes is older
    made = [caches.helm(), "template", "gate", CHART, *known, "--values", file]
    return subprocess.run(made, capture_output=True, text=True, check=False)


def made(values: dict[str, Any], tmp_path: Path) -> str:
    """What passes Helm's linter, as YAML."""
    done = template(values, tmp_path)
    assert done.returncode == 0, done.stderr
    run(caches.helm(), "lint", "--strict", CHART, "--values", tmp_path / "values.json")
    return done.stdout


def read(text: str) -> list[dict[str, Any]]:
    return [each for each in yaml.load_all(text, yaml.CSafeLoader) if each]


@pytest.fixture(scope="module", params=["1.27.0", "1.37.0"])
def judge(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What holds a file against the oldest Kubernetes that the chart allows, and the newest known."""
    where = kubernetes.schemas(tmp_path_factory.mktemp("schemas") / "all", request.param)
    return [caches.kubeconform(), "-strict", "-output", "json", "-schema-location", where]


@pytest.mark.parametrize("values", [{}, EVERYTHING, NOTHING, CLAIM, CLOSED])
def test_kubernetes_takes_what_the_chart_makes(
    values: dict[str, Any], judge: list[Any], tmp_path: Path
) -> None:
    file = tmp_path / "made.yaml"
    file.write_text(made(values, tmp_path))
    run(*judge, file)


@pytest.mark.parametrize(
    "kind", ["Deployment", "NetworkPolicy", "ServiceMonitor", "PrometheusRule"]
)
def test_what_kubernetes_does_not_know_is_noticed(
    kind: str, judge: list[Any], tmp_path: Path
) -> None:
    wrong = of_kind(read(made(EVERYTHING, tmp_path)), kind)[0]
    wrong["spec"]["surprise"] = True
    file = tmp_path / "made.json"
    file.write_text(json.dumps(wrong))
    done = subprocess.run([*judge, file], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "surprise" in done.stdout


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"journal": {"kind": "claim"}}, "name a ReadWriteMany claim"),
        ({"journal": {"kind": "hostPath"}}, "journal"),
        ({"secrets": {"existingSecret": ""}}, "existingSecret"),
        ({"networkPolicy": {"upstreamPort": 65536}}, "upstreamPort"),
        ({"networkPolicy": {"clients": ["web"]}}, "clients"),
        ({"autoscaling": {"min": 1}}, "min"),
    ],
)
def test_helm_refuses_values_that_make_no_sense(
    values: dict[str, Any], said: str, tmp_path: Path
) -> None:
    done = template(values, tmp_path)
    assert done.returncode != 0
    assert said in done.stderr


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return read(made(EVERYTHING, tmp_path_factory.mktemp("helm")))


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [each for each in objects if each["kind"] == kind]


def test_helm_makes_every_kind(objects: list[dict[str, Any]]) -> None:
    assert {each["kind"] for each in objects} == {
        "ConfigMap", "Deployment", "HorizontalPodAutoscaler", "NetworkPolicy",
        "PodDisruptionBudget", "PrometheusRule", "Service", "ServiceMonitor",
    }  # fmt: skip


def test_a_pod_may_drain_before_it_is_killed(objects: list[dict[str, Any]]) -> None:
    (deployment,) = of_kind(objects, "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (config,) = [each for each in of_kind(objects, "ConfigMap") if "tidegate.toml" in each["data"]]
    drain_s = load(config["data"]["tidegate.toml"]).listen.drain_s
    slept_s = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] >= slept_s + drain_s + 2 * LINGER_S


def test_the_dashboards_and_rules_arrive_unchanged(objects: list[dict[str, Any]]) -> None:
    data = {k: v for each in of_kind(objects, "ConfigMap") for k, v in each["data"].items()}
    for path in (ROOT / "dashboards/grafana").glob("*.json"):
        assert json.loads(data[path.name]) == json.loads(path.read_text())
    groups = [each["spec"]["groups"] for each in of_kind(objects, "PrometheusRule")]
    files = sorted((ROOT / "dashboards/prometheus").glob("*.rules.yml"))
    assert groups == [yaml.safe_load(path.read_text())["groups"] for path in files]


def test_nobody_but_the_gateway_gets_to_the_upstream(objects: list[dict[str, Any]]) -> None:
    """Nor does the gateway get to private addresses by the way that leads out."""
    policies = {
        p["metadata"].get("namespace"): p["spec"] for p in of_kind(objects, "NetworkPolicy")
    }
    out = [rule for rule in policies.pop(None)["egress"] if rule["ports"] == [{"port": 443}]]
    blocks = {peer["ipBlock"]["cidr"]: peer["ipBlock"].get("except") for peer in out[0]["to"]}
    assert len(out) == 1
    assert "10.0.0.0/8" in blocks["0.0.0.0/0"]
    assert "fc00::/7" in blocks["::/0"]
    assert policies.keys() == {"search", "research"}
    for spec in policies.values():
        peers = [peer for rule in spec["egress"] for peer in rule["to"]]
        private = {peer["ipBlock"]["cidr"] for peer in peers if "ipBlock" in peer}
        assert private == {*blocks["0.0.0.0/0"], *blocks["::/0"]}
