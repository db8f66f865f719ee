"""SIGHUP: what is in flight keeps its configuration, and a bad one changes nothing at all."""

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from support.gateway import Process, serve
from support.raw import ask, post
from support.traffic import (
    MODEL,
    STREAM,
    admin,
    is_ready,
    load,
    open_streams,
    reconciled,
    say,
    scraped,
    tide,
    until,
    written,
)
from tidegate.keys import digest, new_key
from tidegate.testing.upstream import Call, scripted_upstream

pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]

WAYWARD = {"PYTHONPATH": str(Path(__file__).parent / "wayward")}
OTHER = "claude-haiku-4-5"
BASE = "[listen]\nworkers = 2\n"
METRICS = '[[plugins]]\nuse = "metrics"\n'


def allowing(*models: str) -> str:
    listed = ", ".join(f'"{model}"' for model in models)
    return f'{BASE}[[plugins]]\nuse = "models"\n[plugins.config]\nallow = [{listed}]\n{METRICS}'


def digests(running: Process) -> list[str]:
    """The configurations that workers and observatory have come to run, in order."""
    text = running.log.read_text()
    return re.findall(r"(?:is ready \(|runs )configuration (\w+)", text)


async def reloaded(running: Process) -> str:
    """Send SIGHUP; return the new digest once every process runs it."""
    before = len(digests(running))
    running.signal(signal.SIGHUP)
    await until(lambda: len(digests(running)) >= before + 3)
    (digest,) = set(digests(running)[before:])
    return digest


async def refused(running: Process) -> str:
    """Send SIGHUP; return what is said of it on standard error."""
    before = len(running.log.read_text())
    running.signal(signal.SIGHUP)
    await until(lambda: "nothing has changed" in running.log.read_text()[before:])
    return running.log.read_text()[before:]


def by_id(running: Process) -> dict[str, dict[str, Any]]:
    return {record["id"]: record for record in running.records()}


async def test_streams_keep_their_configuration_and_new_requests_get_the_new_one(
    tmp_path: Path,
) -> None:
    config = tmp_path / "tidegate.toml"
    config.write_text(allowing(MODEL))
    async with tide() as water, serve(tmp_path / "j", config, "--upstream", water.url) as running:
        (old,) = set(digests(running))
        streams = await open_streams(running.port, 8)
        async with load(running.port) as clients:
            await clients.seen(10)
            config.write_text(allowing(OTHER))
            new = await reloaded(running)
            assert new != old
            answers = [await say(running.port, MODEL) for _ in range(6)]
            answers += [await say(running.port, OTHER) for _ in range(6)]
        assert [status for status, _, _ in answers] == [404] * 6 + [200] * 6
        water.rise.set()
        assert [await stream.rest() for stream in streams] == [STREAM] * 8
        assert set(clients.statuses) == {200, 404}
        assert clients.broken == 0

        seen = [*clients.ids, *(id_ for _, _, id_ in answers)]
        await reconciled(running.directory, [*seen, *(stream.id for stream in streams)])
        records = by_id(running)
        assert {records[stream.id]["config"] for stream in streams} == {old}
        assert {records[stream.id]["outcome"] for stream in streams} == {"complete"}
        assert {records[id_]["config"] for _, _, id_ in answers} == {new}
        assert await scraped(running) == written(running.records())


BAD = {
    "toml": (BASE + "[[plugins]\n", "error: toml: "),
    "unknown key": (BASE + METRICS + "tiemout_s = 1\n", "error: plugins[0].tiemout_s: unknown key"),
    "unknown key of a plugin": (
        allowing(MODEL).replace("allow", "alow"),
        "error: plugins[0].config.alow: unknown key; did you mean `allow`?",
    ),
    "policy that cannot open": (
        BASE + '[[plugins]]\nuse = "cannot-open-policy"\n' + METRICS,
        "error: plugins.cannot-open-policy: there is nothing here to open",
    ),
    "observer that cannot open": (
        BASE + METRICS + '[[plugins]]\nuse = "cannot-open"\n',
        "error: plugins.cannot-open: there is nothing here to open",
    ),
    "missing secret": (
        BASE + '[upstream]\ncredential = { env = "TIDEGATE_NO_SUCH" }\n' + METRICS,
        "error: upstream.credential: the environment variable TIDEGATE_NO_SUCH is not set",
    ),
    "workers": (
        allowing(MODEL).replace("workers = 2", "workers = 3"),
        "error: listen.workers: cannot change while the gateway runs (it is 2)",
    ),
    "no file": (None, "tidegate.toml: No such file"),
}


async def test_a_bad_file_changes_nothing_and_is_explained(tmp_path: Path) -> None:
    config = tmp_path / "tidegate.toml"
    config.write_text(allowing(MODEL))
    async with (
        tide() as water,
        serve(tmp_path / "j", config, "--upstream", water.url, env=WAYWARD) as running,
    ):
        (old,) = set(digests(running))
        streams = await open_streams(running.port, 2)
        seen = []
        for text, explanation in BAD.values():
            config.unlink() if text is None else config.write_text(text)
            assert explanation in await refused(running)
            seen += [await say(running.port, MODEL), await say(running.port, OTHER)]
            assert await is_ready(running)
        assert [status for status, _, _ in seen] == [200, 404] * len(BAD)
        water.rise.set()
        assert [await stream.rest() for stream in streams] == [STREAM] * 2
        await reconciled(running.directory, [id_ for _, _, id_ in seen])
        assert await scraped(running) == written(running.records())

        # A worker that starts anew does not stumble over what was refused either.
        victims = {pid for pid, name in running.children().items() if name == "tidegate.worker"}
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        await until(lambda: len(digests(running)) == 5)
        assert set(digests(running)) == {old}
        assert (await say(running.port, OTHER))[0] == 404

        config.write_text(allowing(OTHER))
        new = await reloaded(running)
        assert (await say(running.port, OTHER))[0] == 200
        running.signal(signal.SIGTERM)
        assert await running.wait() == 0
    records = running.records()
    assert {record["config"] for record in records[:-1]} <= {old, new}
    vitals = running.records("vitals")
    assert {v["config"] for v in vitals} <= {old, new}
    last = {v["worker"]: v for v in vitals if v["config"] == new}
    assert [v["reloads"] for v in last.values()] == [1, 1]


async def test_metrics_that_stay_open_tell_of_plugins_that_were_added(tmp_path: Path) -> None:
    config = tmp_path / "tidegate.toml"
    config.write_text(BASE + METRICS)
    async with serve(tmp_path / "j", config) as running:
        assert await plugins(running) == {("metrics", "observer", "enforce")}
        config.write_text(
            allowing(MODEL).replace("[plugins.config]", 'mode = "shadow"\n[plugins.config]')
        )
        fresh = await reloaded(running)
        assert await plugins(running) == {
            ("models", "authorize", "shadow"),
            ("metrics", "observer", "enforce"),
        }
        _, text = await admin(running, "/metrics")
        told = re.findall(
            r'^tidegate_config_info\{(?=.*worker="observatory").*config="(\w+)"', text, re.MULTILINE
        )
        assert told == [fresh]


async def plugins(running: Process) -> set[tuple[str, str, str]]:
    """Name, stage and mode of the plugins that the metrics tell of."""
    _, text = await admin(running, "/metrics")
    found = re.findall(r"^tidegate_plugin_loaded\{(.+)\} 1\.0$", text, re.MULTILINE)
    labels = [dict(re.findall(r'(\w+)="([^"]*)"', each)) for each in found]
    assert all(each["version"] for each in labels)
    return {(each["plugin"], each["stage"], each["mode"]) for each in labels}


async def test_a_key_taken_out_of_its_file_is_unknown_from_then_on(tmp_path: Path) -> None:
    keys = {name: new_key() for name in ("ana", "bob")}
    entries = {name: f'{{ id = "{name}", sha256 = "{digest(key)}" }}' for name, key in keys.items()}
    file = tmp_path / "search.toml"
    file.write_text(f'team = "search"\nkeys = [{entries["ana"]}, {entries["bob"]}]\n')
    config = tmp_path / "tidegate.toml"
    config.write_text(
        f'{BASE}[upstream]\ncredential = {{ env = "UPSTREAM_KEY" }}\n'
        f'[[plugins]]\nuse = "identify"\n[plugins.config]\nkey_files = ["{file}"]\n{METRICS}'
    )
    body = json.dumps({"model": MODEL, "max_tokens": 5, "messages": []}).encode()

    async def statuses() -> list[int]:
        requests = [post(body, headers=f"x-api-key: {key}\r\n".encode()) for key in keys.values()]
        return [(await ask(running.port, request))[0] for request in requests]

    async def answer(call: Call) -> None:
        await call.answer(b"{}")

    env = {"UPSTREAM_KEY": "k"}
    async with (
        scripted_upstream(answer) as upstream,
        serve(tmp_path / "j", config, "--upstream", upstream.url, env=env) as running,
    ):
        assert await statuses() == [200, 200]
        file.write_text(f'team = "search"\nkeys = [{entries["bob"]}]\n')
        await reloaded(running)
        assert await statuses() == [401, 200]
        file.write_text('team = "search"\nkeys = [{ id = "x" }]\n')
        assert "search.toml: keys[0]: Object missing required field" in await refused(running)
        assert await statuses() == [401, 200]


async def test_the_second_configuration_is_reloaded_with_the_first(tmp_path: Path) -> None:
    config, shadow = tmp_path / "tidegate.toml", tmp_path / "next.toml"
    config.write_text(f'{allowing(MODEL)}[shadow]\nconfig = "{shadow}"\n')
    shadow.write_text(allowing(MODEL))
    async with tide() as water, serve(tmp_path / "j", config, "--upstream", water.url) as running:
        await say(running.port)
        shadow.write_text(allowing(MODEL).replace("allow", "alow"))
        assert f"error: shadow.config: {shadow}: plugins[0].config.alow" in await refused(running)
        await say(running.port)
        assert running.records("shadow") == []
        shadow.write_text(allowing(OTHER))
        await reloaded(running)
        status, _, id_ = await say(running.port)
        await until(lambda: bool(running.records("shadow")))
        (difference,) = running.records("shadow")
        assert status == 200
        assert (difference["id"], difference["candidate"]) == (id_, "models:not_allowed")
        sample = 'differences_total{candidate="models:not_allowed",difference="refused",live="leaves"} 1.0'
        assert sample in (await admin(running, "/metrics"))[1].replace("tidegate_shadow_", "")
