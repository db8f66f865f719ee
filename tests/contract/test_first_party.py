"""Every plugin that ships with tidegate keeps the contract, in each of its ways."""

import base64
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any

import pytest

from tidegate import keys
from tidegate.testing import check_plugin

KEY = keys.new_key()
"""Made up anew in each run."""

TOKEN = ".".join(
    base64.urlsafe_b64encode(part).decode().rstrip("=")
    for part in (b'{"alg":"RS256"}', b'{"iss":"http://127.0.0.1:9"}', b"signature")
)
OVER_THE_TOP = {"model": "claude-opus-4-8", "max_tokens": 10**6, "messages": []}


@dataclass(frozen=True)
class Setting:
    plugin: str
    config: dict[str, Any] | None = None
    more: dict[str, Any] = field(default_factory=dict)


GATEWAY_KEY = {"id": "ci-search", "team": "search", "sha256": keys.digest(KEY)}

LIMITS = [
    {"name": "team-day", "scope": "team", "per": "day", "usd": 1000.0, "soft": 0.01},
    {"name": "burst", "scope": ["key", "model"], "per": "minute", "rolling": True, "requests": 500},
    {"name": "streams", "scope": "label:user", "concurrent": 100},
]


def held(policy: Any) -> float:
    reserved: int = policy.held()
    return reserved


SETTINGS = {
    "identify: keys": Setting("identify", {"keys": [GATEWAY_KEY]}, {"credential": KEY}),
    "identify: another network": Setting(
        "identify",
        {"keys": [{**GATEWAY_KEY, "networks": ["10.0.0.0/8"]}]},
        {"credential": KEY},
    ),
    # Nobody listens on port 9 (discard): there are no keys, and tokens have to wait.
    "identify: tokens": Setting(
        "identify",
        {
            "issuers": [
                {"issuer": "http://127.0.0.1:9", "audience": ["tidegate"], "timeout_s": 0.2}
            ],
        },
        {"credential": TOKEN},
    ),
    "identify: a mesh": Setting(
        "identify",
        {
            "trusted": {
                "networks": ["192.0.2.0/24"],
                "principal": "x-auth-user",
                "default_team": "mesh",
            },
            "keys": [GATEWAY_KEY],
        },
        {"credential": KEY},
    ),
    "identify: forward": Setting("identify", {"forward": True}, {"forwards_credential": True}),
    "models: some": Setting(
        "models",
        {"allow": ["claude-sonnet-*"], "teams": {"search": {"allow": ["*"]}}},
        {"documents": [OVER_THE_TOP]},
    ),
    "models: none": Setting("models", {"allow": []}),
    "limits: reject": Setting("limits", {"max_tokens": 1024, "effort": "high"}),
    "limits: clamp": Setting(
        "limits", {"max_tokens": 100, "over": "clamp"}, {"documents": [OVER_THE_TOP]}
    ),
    "quota: memory": Setting("quota", {"store": "memory", "limits": LIMITS}, {"held": held}),
    "quota: sqlite": Setting("quota", {"limits": LIMITS}, {"held": held}),
    "quota: spent": Setting(
        "quota", {"limits": [{"name": "none", "scope": "org", "per": "day", "usd": 0.0}]}
    ),
    "limits: put in": Setting("limits", {"default_max_tokens": 100, "over": "clamp"}),
    "models: aliases": Setting(
        "models", {"allow": ["family:haiku"], "aliases": {"claude-sonnet-4-6": "claude-haiku-4-5"}}
    ),
    "features: open": Setting(
        "features", {"endpoints": {"allow": ["messages", "batches", "files"]}}
    ),
    "features: closed": Setting(
        "features",
        {
            "tools": {"deny": ["server", "unknown"]},
            "fields": {"allow": []},
            "url_hosts": {"allow": []},
            "sources": {"deny": ["url"]},
            "stream": "required",
        },
        {"documents": [OVER_THE_TOP]},
    ),
    "redact": Setting("redact"),
    "metrics": Setting("metrics"),
    "usage": Setting("usage"),
    # Nobody listens on port 9 (discard): the exporter has to live with that.
    "tracing": Setting("tracing", {"endpoint": "http://127.0.0.1:9", "timeout_s": 0.2}),
    "logs": Setting("logs", {"endpoint": "http://127.0.0.1:9", "timeout_s": 0.2}),
}


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_it_keeps_the_contract(setting: Setting):
    (point,) = entry_points(group="tidegate.plugins", name=setting.plugin)
    try:
        spec = point.load()
    except ModuleNotFoundError as error:
        pytest.skip(f"{setting.plugin} is not there yet: {error}")

    check_plugin(spec, setting.config, **setting.more)


def test_every_plugin_of_ours_is_checked():
    ours = {
        point.name
        for point in entry_points(group="tidegate.plugins")
        if point.dist is not None and point.dist.name == "tidegate"
    }

    assert ours <= {setting.plugin for setting in SETTINGS.values()}
