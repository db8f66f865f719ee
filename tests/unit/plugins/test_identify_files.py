"""identify: files of keys, and the commands that make and list keys."""

import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tidegate import keys
from tidegate.cli import main
from tidegate.errors import PluginError
from tidegate.plugin import Admit
from tidegate.testing.fakes import make_exchange, make_request, open_plugin
from tidegate_plugins.identify import plugin
from tidegate_plugins.identify.keyring import PREFIX

A, B, C = (keys.new_key() for _ in range(3))


def entry(key: str, name: str, **fields: str) -> str:
    more = "".join(f', {field} = "{value}"' for field, value in fields.items())
    return f'  {{ id = "{name}", sha256 = "{keys.digest(key)}"{more} }},\n'


def write(path: Path, *entries: str, team: str | None = None) -> Path:
    path.parent.mkdir(exist_ok=True)
    head = f'team = "{team}"\n' if team else ""
    path.write_text(f"{head}keys = [\n{''.join(entries)}]\n")
    return path


async def who(config: dict[str, Any], key: str, state_dir: Path) -> str:
    async with open_plugin(plugin, config, state_dir=state_dir) as policy:
        decision = await policy.admit(make_exchange(), make_request(credential=key))
    if isinstance(decision, Admit):
        assert decision.principal is not None
        return f"{decision.principal.id}/{decision.principal.team}"
    return decision.rule


@pytest.mark.parametrize("form", ["{0}/keys.d", "{0}/keys.d/*.toml", "{0}/keys.d/s*.toml"])
async def test_keys_may_stand_in_files(form: str, tmp_path: Path) -> None:
    write(tmp_path / "keys.d/search.toml", entry(A, "ci"), team="search")
    write(tmp_path / "keys.d/.hidden.toml", entry(C, "hidden", team="x"))
    write(tmp_path / "keys.d/notes.txt", entry(C, "notes", team="x"))
    config = {
        "key_files": [form.format(tmp_path), str(tmp_path / "keys.d/search.toml")],
        "keys": [{"id": "b", "team": "web", "sha256": keys.digest(B)}],
    }
    assert await who(config, A, tmp_path) == "ci/search"
    assert await who(config, B, tmp_path) == "b/web"
    assert await who(config, C, tmp_path) == "unknown_key"


async def test_opening_anew_reads_anew(tmp_path: Path) -> None:
    path = write(tmp_path / "k.toml", entry(A, "a"), entry(B, "b"), team="t")
    config = {"key_files": [str(path)]}
    assert await who(config, A, tmp_path) == "a/t"
    write(path, entry(B, "b"), team="t")
    assert await who(config, A, tmp_path) == "unknown_key"
    assert await who(config, B, tmp_path) == "b/t"


async def wrong(tmp_path: Path, *paths: Path, more: Any = None) -> str:
    config = {"key_files": [str(path) for path in paths], **(more or {})}
    with pytest.raises(PluginError) as caught:
        await who(config, A, tmp_path)
    return str(caught.value).replace(f"{tmp_path}/", "")


async def test_duplicates_name_both_places(tmp_path: Path) -> None:
    one = write(tmp_path / "one.toml", entry(A, "ci"), team="search")
    two = write(tmp_path / "two.toml", entry(B, "x"), entry(C, "ci"), entry(A, "y"), team="web")
    assert (await wrong(tmp_path, one, two)).splitlines() == [
        "two.toml:4 ('ci'): the id is taken by one.toml:3; give it another",
        "two.toml:5 ('y'): the same sha256 as 'ci' at one.toml:3; make a key for each",
    ]


async def test_a_duplicate_in_one_file_has_two_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "one.toml", entry(A, "a"), entry(A, "b"), team="t")
    assert "one.toml:4 ('b'): the same sha256 as 'a' at one.toml:3" in await wrong(tmp_path, path)


async def test_a_file_of_a_team_makes_no_keys_for_another(tmp_path: Path) -> None:
    path = write(tmp_path / "k.toml", entry(A, "a", team="finance"), team="search")
    assert "k.toml:3: team: this file is for keys of 'search'" in await wrong(tmp_path, path)


async def test_a_file_that_everybody_can_write_lets_nobody_in(tmp_path: Path) -> None:
    path = write(tmp_path / "k.toml", entry(A, "a", team="t"))
    path.chmod(0o666)
    assert "chmod o-w" in await wrong(tmp_path, path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"keys = [", "k.toml: "),
        (b"\xff", "k.toml: "),
        (b"keys = 1", "`keys` must be a list"),
        (b"key = []", "unknown key 'key'"),
        (b"keys = [1]", "k.toml: keys[0]: Expected `object`"),
        (b'keys = [{ id = "a", team = "t" }]', "k.toml: keys[0]: Object missing"),
        (b'keys = [{ id = "a", team = "t", sha256 = "abc" }]', "k.toml:1 ('a'): sha256 must be"),
        (b'keys = [{ id = "a", team = "t", sha256 = "", expire = 1 }]', "expire"),
    ],
)
async def test_a_file_that_cannot_be_used_is_named(
    content: bytes, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "k.toml"
    path.write_bytes(content)
    assert said in await wrong(tmp_path, path)


@pytest.mark.parametrize("pattern", ["nowhere.toml", "nowhere.d/*.toml", "empty"])
async def test_what_means_no_file_is_an_error(pattern: str, tmp_path: Path) -> None:
    """Else keys that were not mounted would look like keys that were revoked."""
    (tmp_path / "empty").mkdir()
    key = {"keys": [{"id": "b", "team": "web", "sha256": keys.digest(B)}]}
    assert f"key_files: '{tmp_path / pattern}'" in await wrong_raw(tmp_path, pattern, key)


async def test_a_relative_path_that_means_no_file_says_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        PluginError, match=re.escape(f"'keys/web.toml' is no file, and matches none in {tmp_path}:")
    ):
        await who({"key_files": ["keys/web.toml"]}, A, tmp_path)


async def wrong_raw(tmp_path: Path, pattern: str, more: Any) -> str:
    config = {"key_files": [str(tmp_path / pattern)], **more}
    with pytest.raises(PluginError) as caught:
        await who(config, A, tmp_path)
    return str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
async def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "k.toml", entry(A, "a", team="t"))
    path.chmod(0)
    assert "k.toml: Permission denied" in await wrong(tmp_path, path)


# the commands


def test_a_new_key_may_expire_and_be_bound(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--expires", "2031-01-31", "--network", "10.0.0.0/8", "--network", "::1/128"]
    assert main(["keys", "new", "--team", "web", *arguments]) == 0
    key, _, lines = capsys.readouterr().out.partition("\n")
    (made,) = tomllib.loads(lines)["plugins"][0]["config"]["keys"]
    assert made["sha256"] == keys.digest(key)
    assert made["expires"].isoformat() == "2031-01-31T00:00:00+00:00"
    assert made["networks"] == ["10.0.0.0/8", "::1/128"]


@pytest.mark.parametrize(
    "arguments", [["--expires", "soon"], ["--expires", "0d"], ["--network", "10.0.0.1/8"]]
)
def test_a_wrong_key_is_not_made(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "new", "--team", "web", *arguments]) == 2
    assert PREFIX not in capsys.readouterr().out


CONFIG = """
[[plugins]]
use = "identify"
[plugins.config]
key_files = ["{0}/*.keys"]
keys = [{{ id = "direct", team = "web", sha256 = "{1}", networks = ["10.0.0.0/8"] }}]
"""


def test_keys_are_listed_with_their_places(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(
        tmp_path / "search.keys", entry(B, "old", expires="2020-01-01T00:00:00Z"), team="search"
    )
    config = tmp_path / "tidegate.toml"
    config.write_text(CONFIG.format(tmp_path, keys.digest(A)))

    assert main(["keys", "list", "--config", str(config)]) == 1
    shown = [re.split(r"  +", line) for line in capsys.readouterr().out.splitlines()]
    assert shown == [
        ["ID", "TEAM", "EXPIRES", "NETWORKS", "SHA256", "WHERE"],
        ["direct", "web", "never", "10.0.0.0/8", keys.digest(A)[:12], f"{config}: keys[0]"],
        ["old", "search", "2020-01-01 expired", "anywhere", keys.digest(B)[:12], f"{path}:3"],
    ]

    assert main(["keys", "list", "--config", str(config), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["problems"] == []
    assert [row["expired"] for row in found["keys"]] == [False, True]
    assert (found["keys"][1]["file"], found["keys"][1]["line"]) == (str(path), 3)


def test_what_is_wrong_is_listed_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "k.toml", entry(A, "a"), entry(A, "a"), team="t")
    assert main(["keys", "list", str(path)]) == 1
    said = capsys.readouterr().out
    assert f"error: {path}:4 ('a'): the id is taken by {path}:3" in said
    assert main(["keys", "list"]) == 2
