"""What the gateway itself answers, as programs with an SDK meet it: the right exception, once."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from redacting import github, rules_dir
from support.driving import SDKS, Sdk, Side, drive, run_through
from support.gateway import gateway
from support.ports import free_port
from support.scenarios import HAIKU, OPUS, Scenario, ask
from tidegate.keys import digest, new_key

pytestmark = pytest.mark.timeout(900)  # the first run installs

GATEWAY_KEY = new_key()
UPSTREAM_KEY = "-".join(("sk", "ant", "api03", "upstream" * 4))
SECRET = github()
LARGEST = 1024 * 1024

RULES = f"""
[upstream]
credential = {{ env = "TEST_UPSTREAM_KEY" }}
[[plugins]]
use = "identify"
[plugins.config]
keys = [{{ id = "ci", team = "search", sha256 = "{digest(GATEWAY_KEY)}" }}]
[[plugins]]
use = "models"
[plugins.config]
allow = ["claude-haiku-*"]
[[plugins]]
use = "limits"
[plugins.config]
max_tokens = 4096
[[plugins]]
use = "features"
[plugins.config]
tools.deny = ["server"]
[[plugins]]
use = "redact"
[plugins.config]
action = "block"
cache_dir = "{rules_dir()}"
"""

FETCH = [{"type": "web_fetch_20250910", "name": "web_fetch"}]
COUNT: dict[str, Any] = {"model": OPUS, "messages": ask()["messages"]}
MODEL = ("NotFoundError", 404, "not_found_error", "policy")
LIMIT = ("BadRequestError", 400, "invalid_request_error", "policy")
KEY = ("AuthenticationError", 401, "authentication_error", "policy")
FEATURE = ("PermissionDeniedError", 403, "permission_error", "policy")
BODY = ("BadRequestError", 400, "invalid_request_error", "gateway")
LARGE = ("RequestTooLargeError", 413, "request_too_large", "gateway")

REFUSED = [
    (Scenario("model", "create", ask(model=OPUS)), (*MODEL, "models")),
    (Scenario("model-stream", "stream", ask(model=OPUS)), (*MODEL, "models")),
    (Scenario("model-count", "count", COUNT), (*MODEL, "models")),
    (Scenario("limit", "create", ask(max_tokens=4097)), (*LIMIT, "limits")),
    (Scenario("limit-stream", "events", ask(max_tokens=4097)), (*LIMIT, "limits")),
    (Scenario("secret", "create", ask(f"my token is {SECRET}")), (*LIMIT, "redact")),
    (Scenario("closed", "batches", {}), (*FEATURE, "features")),
    (Scenario("tool", "create", ask(tools=FETCH)), (*FEATURE, "features")),
    (Scenario("tool-stream", "events", ask(tools=FETCH)), (*FEATURE, "features")),
    (
        Scenario("tool-count", "count", {**COUNT, "model": HAIKU, "tools": FETCH}),
        (*FEATURE, "features"),
    ),
    (Scenario("body", "create", ask(max_tokens=-1)), (*BODY, "gateway")),
    (Scenario("large", "create", ask("tide " * (LARGEST // 2))), (*LARGE, "gateway")),
]
"""Exception, status, type, `x-tidegate-origin` and the plugin in the record."""

TOO_LARGE = {
    "python-0.75.0-async": "APIStatusError",
    "python-2.12.0-sync": "ContentTooLargeError",
    "python-2.12.0-async": "ContentTooLargeError",
    "node-0.71.0-async": "APIError",
    "node-1.12.0-async": "ContentTooLargeError",
}
"""What SDKs make of a 413 that do not call it `RequestTooLargeError`."""

ALLOWED = [Scenario("create", "create", ask()), Scenario("models", "models", {"limit": 100})]


@pytest.fixture(scope="module", params=SDKS, ids=str)
def sdk(request: pytest.FixtureRequest) -> Sdk:
    chosen: Sdk = request.param
    return chosen


@pytest.fixture(scope="module")
def ruled(sdk: Sdk, tmp_path_factory: pytest.TempPathFactory) -> Side:
    """A program whose key the gateway knows."""
    scenarios = [*(scenario for scenario, _ in REFUSED), *ALLOWED]
    return _run(sdk, scenarios, GATEWAY_KEY, tmp_path_factory.mktemp("journal"))


def _run(sdk: Sdk, scenarios: list[Scenario], key: str, directory: Path) -> Side:
    command = sdk.command()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_UPSTREAM_KEY", UPSTREAM_KEY)
        run = run_through(directory, command, scenarios, RULES, key, max_body_bytes=LARGEST)
        return asyncio.run(run)


def test_refusals_are_the_sdks_own_exceptions_and_not_retried(sdk: Sdk, ruled: Side) -> None:
    for mode in sdk.modes:
        for scenario, (name, status, kind, origin, _) in REFUSED:
            found = ruled.error(mode, scenario.name)
            expected = TOO_LARGE.get(f"{sdk}-{mode}", name) if status == 413 else name
            assert (found["class"], found["status"]) == (expected, status), scenario.name
            assert found["body"]["error"]["type"] == kind
            assert found["headers"]["x-tidegate-origin"] == origin
            assert found["headers"]["x-should-retry"] == "false"
            assert found["request_id"]
            assert SECRET not in str(found)
    refusals = [record for record in ruled.records if record["outcome"] == "refused"]
    refusers = sorted(record["refused_by"]["plugin"] for record in refusals)
    assert refusers == sorted([each[-1] for _, each in REFUSED] * len(sdk.modes))


def test_only_what_is_allowed_leaves_and_with_the_upstreams_key(sdk: Sdk, ruled: Side) -> None:
    names = {f"{mode}/create" for mode in sdk.modes}  # the list of models is answered here
    assert ruled.heard.keys() == names
    for (received,) in ruled.heard.values():
        assert received.headers["x-api-key"] == UPSTREAM_KEY
        assert "authorization" not in received.headers
        assert GATEWAY_KEY not in str(received.describe())
    assert UPSTREAM_KEY not in str(ruled.outcomes)
    for mode in sdk.modes:
        assert ruled.outcomes[mode]["create"]["result"]["model"].startswith(HAIKU)
        listed = json.dumps(ruled.outcomes[mode]["models"]["result"])
        assert "claude-haiku-5-5" in listed
        assert "claude-opus" not in listed
    complete = [record for record in ruled.records if record["outcome"] == "complete"]
    assert [record["principal"]["id"] for record in complete] == ["ci"] * len(names)
    answered = [record for record in ruled.records if record["outcome"] == "answered"]
    assert [record["route"] for record in answered] == ["models"] * len(sdk.modes)


def test_an_unknown_key(sdk: Sdk, tmp_path: Path) -> None:
    scenarios = [Scenario("key", "create", ask()), Scenario("key-stream", "stream", ask())]
    side = _run(sdk, scenarios, new_key(), tmp_path)
    assert not side.heard
    assert len(side.records) == len(scenarios) * len(sdk.modes)
    for mode in sdk.modes:
        for scenario in scenarios:
            found = side.error(mode, scenario.name)
            kind = found["body"]["error"]["type"]
            origin = found["headers"]["x-tidegate-origin"]
            assert (found["class"], found["status"], kind, origin) == KEY


def test_an_upstream_that_is_down_is_tried_again(sdk: Sdk, tmp_path: Path) -> None:
    scenario = Scenario("down", "create", ask(), retries=1)
    command = sdk.command()

    async def run() -> Side:
        async with gateway(tmp_path, f"http://127.0.0.1:{free_port()}") as gate:
            outcomes = await drive(command, gate.url, [scenario])
            return Side(outcomes, records=gate.records())

    side = asyncio.run(run())
    assert [record["outcome"] for record in side.records] == ["unreachable"] * 2 * len(sdk.modes)
    for mode in sdk.modes:
        found = side.error(mode, "down")
        assert (found["class"], found["status"]) == ("InternalServerError", 502)
        assert found["headers"]["x-tidegate-origin"] == "gateway"
        assert "x-should-retry" not in found["headers"]
