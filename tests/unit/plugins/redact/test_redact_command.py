"""`tidegate redact`: what it finds, what it prints, how it ends."""

import io
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from redacting import KEY, conversation, dumps, engine, github, rules_dir, secret
from tidegate.cli import main
from tidegate_plugins.redact import catalogue, command, keys
from tidegate_plugins.redact.engine import EngineTimeout
from tidegate_plugins.redact.placeholder import digest
from tidegate_plugins.redact.report import Inspector

TOKEN = github("command")
NAME = digest(KEY, TOKEN.encode())


@pytest.fixture(autouse=True)
def _one_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module in (command, catalogue):
        monkeypatch.setattr(module, "open_kingfisher", lambda *_: engine())
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A gateway's configuration, with the tests' key."""
    monkeypatch.setenv("A_KEY", KEY.decode())
    return write(
        tmp_path,
        "gateway.toml",
        f"""
        [[plugins]]
        use = "models"
        [[plugins]]
        use = "redact"
        [plugins.config]
        key = {{ env = "A_KEY" }}
        cache_dir = {json.dumps(str(rules_dir()))}
        teams = {{ strict = {{ action = "block" }} }}
        """,
    )


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def said(capsys: pytest.CaptureFixture[str], *arguments: object, code: int) -> str:
    assert main(["redact", *map(str, arguments)]) == code
    return capsys.readouterr().out


def found(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 1) -> Any:
    return json.loads(said(capsys, "scan", "--json", *arguments, code=code))["found"]


# scan


def test_a_text_is_told_by_line_and_column(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "a.txt", f"one\n  zwölf {TOKEN}\n")
    out = said(capsys, "scan", path, "--config", config, code=1)
    assert f"{path}:2:9 " in out
    assert f"mask     github-token             [REDACTED:github-token:{NAME[:10]}] 40 bytes" in out
    assert "1 mask (text, 1 rule)" in out
    assert TOKEN not in out
    assert "\x1b" not in out
    assert TOKEN in said(capsys, "scan", path, "--show", code=1)


def test_a_body_is_told_by_pointer_and_place(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "b.json", dumps(conversation(f"a {TOKEN}", f"b {TOKEN}", system=TOKEN)))
    rows = found(capsys, path, "--config", config)
    assert [(row["pointer"], row["place"], row["action"]) for row in rows] == [
        ("/messages/0/content", "text", "mask"),
        ("/messages/1/content", "signed", "detect"),
        ("/system", "text", "mask"),
    ]
    assert {row["digest"] for row in rows} == {NAME}
    assert {row["group"] for row in rows} == {"tokens"}
    assert "value" not in rows[0]
    assert found(capsys, path, "--show")[0]["value"] == TOKEN
    assert found(capsys, path, "--as", "text")[0]["line"] == 1


def test_the_rules_of_a_team_count(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "b.json", dumps(conversation(TOKEN)))
    (row,) = found(capsys, path, "--config", config, "--team", "strict")
    assert row["action"] == "block"


def test_nothing_found_is_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, "a.txt", "nothing here\n")
    assert "nothing found" in said(capsys, "scan", path, code=0)
    assert found(capsys, path, code=0) == []


def test_standard_input(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        sys, "stdin", io.TextIOWrapper(io.BytesIO(f"\xff {TOKEN}".encode("latin1")))
    )
    out = said(capsys, "scan", "-", code=1)
    assert "stdin:1:3" in out
    assert "No key was found" in out


def test_a_terminal_gets_colour_and_no_control_characters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = {"name": "t", "input_schema": {"a\x1b[2Jb": TOKEN}}
    path = write(tmp_path, "b.json", dumps(conversation("x", tools=[tool])))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = said(capsys, "scan", path, "--show", code=1)
    assert "\x1b[33mmask" in out
    assert r"/tools/0/input_schema/a\x1b[2Jb" in out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in said(capsys, "scan", path, code=1)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nowhere.txt"], "nowhere.txt: No such file"),
        (["a.txt", "--as", "body"], "a.txt: the body is not valid JSON"),
        (["a.txt", "--config", "nowhere.toml"], "nowhere.toml: No such file"),
        (["a.txt", "--config", "bad.toml"], "Invalid enum value 'hide'"),
        (["a.txt", "--config", "odd.toml"], "odd.toml: "),
        (["a.txt", "--config", "name.toml"], "there is no rule 'jwtt'"),
        (["a.txt", "--key-file", "nowhere.key"], "the HMAC key cannot be read"),
    ],
)
def test_what_cannot_be_known_is_2(
    arguments: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "a.txt", "text")
    redact = '[[plugins]]\nuse = "redact"\n[plugins.config]\n'
    write(tmp_path, "bad.toml", f'{redact}action = "hide"\n')
    write(tmp_path, "name.toml", f'{redact}actions = {{ jwtt = "block" }}\n')
    write(tmp_path, "odd.toml", "plugins = [1]\n")
    assert main(["redact", "scan", *arguments]) == 2
    assert reason in capsys.readouterr().err


def test_a_search_that_takes_too_long_is_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*_: object) -> None:
        raise EngineTimeout

    monkeypatch.setattr(Inspector, "inspect", late)
    assert main(["redact", "scan", str(write(tmp_path, "a.txt", "text"))]) == 2
    assert "took too long" in capsys.readouterr().err


def test_the_mode_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, "s.toml", '[[plugins]]\nuse = "redact"\nmode = "shadow"\n')
    path = write(tmp_path, "a.txt", TOKEN)
    assert "mode is shadow" in said(capsys, "scan", path, "--config", file, code=1)


# allow


def test_what_allow_prints_lets_the_value_through(
    tmp_path: Path,
    config: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{TOKEN}\n".encode())))
    line = said(capsys, "allow", "--config", config, code=0)
    assert tomllib.loads(line) == {"allow": {"digests": [NAME]}}
    assert keys.identify(KEY) in line
    config.write_text(config.read_text() + line)
    path = write(tmp_path, "a.txt", TOKEN)
    (row,) = found(capsys, path, "--config", config, code=0)
    assert row["action"] == "allowed"


def test_allow_asks_on_a_terminal_and_takes_a_key_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(command.getpass, "getpass", lambda _: TOKEN)
    file = write(tmp_path, "k", KEY + b"\n")
    assert NAME in said(capsys, "allow", "--key-file", file, code=0)


def test_allow_uses_the_key_beside_the_journal_and_makes_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["redact", "allow"]) == 2
    assert "there is no key at tidegate-journal/redact.key" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "tidegate-journal").mkdir()
    write(tmp_path / "tidegate-journal", keys.FILE, KEY)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TOKEN.encode())))
    assert NAME in said(capsys, "allow", code=0)
    assert main(["redact", "allow"]) == 2  # nothing left to read
    assert "nothing was read" in capsys.readouterr().err


# rules


def test_rules_say_why_and_show_examples(capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, "rules", code=0)
    assert "url-credential\n    A password in a URL" in out
    assert "+ redis://:«" in out
    assert "- https://host:8080/path" in out
    assert "card  (off; named in `pii` it is on)" in out


def test_rules_for_machines_name_each_once_and_all_of_the_catalogue(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rules = json.loads(said(capsys, "rules", "--json", code=0))
    names = [rule["name"] for rule in rules]
    assert len(names) == len(set(names))
    assert set(names) >= {name for name, _ in engine().names.values()}
    assert all(rule["why"] for rule in rules)
    chosen = json.loads(said(capsys, "rules", "--json", "jwt", "pii", code=0))
    assert {rule["name"] for rule in chosen} == {"jwt", *catalogue.ALL_PII}


def test_a_rule_that_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["redact", "rules", "jwtt"]) == 2
    assert "there is no rule 'jwtt'" in capsys.readouterr().err


def test_examples_hold_made_up_secrets_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert secret("ghp_") in said(capsys, "rules", "github-token", code=0)
