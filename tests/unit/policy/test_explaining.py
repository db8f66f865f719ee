"""`tidegate policy explain`: what each policy says, and never what had to go."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from redacting import rules_dir
from tidegate import cli

CONFIG = f"""
[[plugins]]
use = "models"
[plugins.config]
allow = ["claude-haiku-*"]
[[plugins]]
use = "limits"
[plugins.config]
max_tokens = 1000
over = "clamp"
[[plugins]]
use = "redact"
config.cache_dir = "{rules_dir()}"
"""
SECRET = "AKIA" + "QYLPMN5HFIQR7XYA"


def body(**changes: Any) -> bytes:
    said = [{"role": "user", "content": f"id {SECRET}, and more"}]
    document = {"model": "claude-haiku-5-5", "max_tokens": 60000, "messages": said} | changes
    return json.dumps(document).encode()


@pytest.fixture
def explain(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    def run(raw: bytes, *more: str, err: bool = False) -> tuple[int, str]:
        (tmp_path / "tidegate.toml").write_text(CONFIG)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
        config = ["--config", str(tmp_path / "tidegate.toml")]
        code = cli.main(["policy", "explain", "--as", "web", "--request", "-", *config, *more])
        said = capsys.readouterr()
        return code, said.err if err else said.out

    return run


def test_each_policy_has_its_branch_and_each_edit_its_place(explain):
    code, text = explain(body())

    lines = [line for line in text.splitlines() if line[0] in "├└"]
    assert code == 0
    assert [line.split()[1:3] for line in lines] == [
        ["models", "admit"], ["limits", "edit"], ["redact", "edit"], ["leaves,", lines[-1].split()[2]],
    ]  # fmt: skip
    assert "/max_tokens  60000 → 1000" in text
    assert '"max_tokens": [-60000-]{+1000+}' in text
    assert "x-tidegate-max-tokens: 1000" in text
    assert "µs" in lines[0]


def test_what_was_taken_out_is_not_shown(explain):
    for more in ([], ["--json"]):
        _, text = explain(body(), *more)

        assert SECRET not in text
        assert "(20 bytes)" in text
        assert "[REDACTED:aws-access-key-id:" in text


def test_offsets_are_those_of_what_leaves(explain):
    raw = body()
    _, text = explain(raw, "--json")

    shown = json.loads(text)
    clamp, secret = shown["changes"]
    assert clamp["at"] == raw.index(b"60000")
    assert secret["at"] == raw.index(SECRET.encode()) - len("60000") + len("1000")
    assert shown["bytes_after"] == len(raw) - 1 - len(SECRET) + len(
        secret["text"].partition("{+")[2].partition("+}")[0]
    )


def test_a_refusal_says_who_and_why_and_who_was_not_asked(explain):
    code, text = explain(body(model="claude-opus-5-5"))

    assert code == 1
    assert "├─ limits       not_evaluated" in text
    assert (
        "└─ refused by models:not_allowed with 404: model: claude-opus-5-5 is not allowed" in text
    )


def test_what_leaves_as_it_came_is_told(explain):
    _, text = explain(body(max_tokens=5, messages=[]))

    assert text.splitlines()[-1] == "└─ leaves, byte for byte as it came"


def test_who_is_left_out_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    quota = '[[plugins]]\nuse = "quota"\nconfig.limits = [{ name = "a", scope = "org", per = "day", requests = 1 }]'
    (tmp_path / "tidegate.toml").write_text(quota)
    (tmp_path / "body.json").write_bytes(body())
    config = ["--config", str(tmp_path / "tidegate.toml"), "--request", str(tmp_path / "body.json")]

    assert cli.main(["policy", "explain", "--as", "web", *config]) == 0
    assert "it takes something, and is not asked here" in capsys.readouterr().out


def test_heads_count_too(explain):
    _, text = explain(body(), "--header", "Content-Encoding: gzip")

    assert "refused by gateway:body_encoded" in text


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--header", "nonsense"], "--header: 'nonsense': write NAME:VALUE"),
        (["--request", "nowhere.json"], "nowhere.json: No such file"),
        (["--config", "nowhere.toml"], "nowhere.toml: there is no such file"),
    ],
)
def test_mistakes_are_told(explain, arguments: list[str], complaint: str):
    code, said = explain(body(), *arguments, err=True)

    assert code == 2
    assert complaint in said
