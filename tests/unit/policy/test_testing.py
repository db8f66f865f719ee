"""`tidegate policy test`: a case holds if and only if what it says is so."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from redacting import rules_dir
from tidegate import cli
from tidegate.keys import digest, new_key

KEY = new_key()
CONFIG = f"""
[upstream]
credential = {{ env = "A_KEY_THAT_NO_BUILD_HAS" }}
[[plugins]]
use = "identify"
[plugins.config]
keys = [{{ id = "ci", team = "search", sha256 = "{digest(KEY)}", networks = ["10.0.0.0/8"] }}]
[[plugins]]
use = "models"
[plugins.config]
allow = ["claude-haiku-*"]
teams.research.allow = ["*"]
[[plugins]]
use = "limits"
[plugins.config]
max_tokens = 1000
teams.data.over = "clamp"
[[plugins]]
use = "limits"
name = "next"
mode = "shadow"
config.max_tokens = 10
"""
DEFAULTS = """
[defaults]
as = "search"
request = { model = "claude-haiku-5-5", max_tokens = 100, messages = [] }
"""


@pytest.fixture
def policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Run cases; return the exit code, and what was printed as JSON."""

    def run(cases: str, *, defaults: str = DEFAULTS, config: str = CONFIG) -> tuple[int, Any]:
        (tmp_path / "tidegate.toml").write_text(config)
        (tmp_path / "cases.toml").write_text(f'config = "tidegate.toml"\n{defaults}\n{cases}')
        code = cli.main(["policy", "test", str(tmp_path / "cases.toml"), "--json"])
        out, err = capsys.readouterr()
        return code, json.loads(out) if out else err.replace(str(tmp_path), "")

    return run


def case(text: str) -> str:
    return f'[[case]]\nname = "it"\n{text}'


HOLD = {
    "admitted": 'expect = "admit"',
    "untouched": 'expect = { verdict = "admit", edited = [], model = "claude-haiku-5-5" }',
    "a model": """request = { model = "claude-opus-5-5" }
        expect = { verdict = "refuse", by = "models", rule = "not_allowed", status = 404, type = "not_found_error", pointer = "/model", message = "not allowed here for team search" }""",
    "of a team": 'as = "research"\nrequest = { model = "claude-opus-5-5" }\nexpect = "admit"',
    "a principal": 'as = { team = "data", principal = "ana" }\nexpect = { principal = "ana", team = "data" }',
    "a clamp": """as = "data"
        request = { max_tokens = 5000 }
        expect = { max_tokens = 1000, edited = ["limits"], sent = { "/max_tokens" = 1000, "/messages" = [] }, headers = { x-tidegate-max-tokens = "1000" } }""",
    "a shadow": 'expect = { verdict = "admit", notes = ["next:max_tokens", "next:max_tokens:refuse"] }',
    "a text as it is": """request = '{"model": "claude-haiku-5-5", "model": "claude-opus-5-5"}'
        expect = { by = "gateway", rule = "body", status = 400, message = "appears twice" }""",
    "another path": 'target = "/v1/skills"\nexpect = { by = "gateway", status = 404 }',
    "a head": 'headers = { content-encoding = "gzip" }\nexpect = { by = "gateway", rule = "body_encoded" }',
    "a model's page": 'target = "/v1/models/claude-opus-5-5"\nexpect = { verdict = "refuse", by = "models" }',
    "a probe": 'method = "HEAD"\ntarget = "/"\nexpect = "answer"',
    "a key": f'credential = "{KEY}"\npeer = "10.1.2.3"\nexpect = {{ verdict = "admit", principal = "ci" }}',
    "a key elsewhere": f'credential = "{KEY}"\nexpect = {{ by = "identify", rule = "wrong_network", status = 401 }}',
    "two that differ": f'credential = "{KEY}"\nheaders = {{ authorization = "Bearer x" }}\nexpect = {{ rule = "credentials_differ" }}',
    "texts": """request = { messages = [{ role = "user", content = "the quay" }] }
        expect = { holds = ["the quay"], lacks = ["the pier"] }""",
}  # fmt: skip


@pytest.mark.parametrize("text", HOLD.values(), ids=HOLD)
def test_what_is_so_holds(policy, text: str):
    code, report = policy(case(text))

    assert report["cases"][0]["differences"] == []
    assert (code, report["passed"], report["failed"]) == (0, 1, 0)


DIFFER = {
    "verdict": ('expect = "refuse"', "verdict", "refuse", "admit"),
    "status": ('request = { max_tokens = 9999 }\nexpect.status = 403', "status", 403, 400),
    "by": ('request = { max_tokens = 9999 }\nexpect.by = "models"', "by", "models", "limits"),
    "max_tokens": ("expect.max_tokens = 99", "max_tokens", 99, 100),
    "edited": ('expect.edited = ["limits"]', "edited", ["limits"], []),
    "sent": ('expect.sent."/max_tokens" = 100.0', "sent /max_tokens", 100.0, 100),
    "nothing there": ('expect.sent."/stream" = true', "sent /stream", True, "(nothing)"),
    "header": ('expect.headers.x-tidegate-max-tokens = "1"', "header x-tidegate-max-tokens", "1", "(nothing)"),
    "notes": ('expect.notes = ["limits:gone"]', "notes", "limits:gone", ["limits::admit"]),
    "team": ('expect.team = "data"', "team", "data", "search"),
    "holds": ('expect.holds = ["the quay"]', "holds", "the quay", "(nothing)"),
    "lacks": ('expect.lacks = ["haiku"]', "lacks", "no 'haiku'", "it is still there"),
    "no message": ('expect.message = "no"', "message", "… no …", "(nothing)"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "what", "expected", "found"), DIFFER.values(), ids=DIFFER)
def test_what_is_not_so_is_told(policy, text: str, what: str, expected: Any, found: Any):
    code, report = policy(case(text))

    (result,) = report["cases"]
    assert code == 1
    assert result["differences"] == [{"what": what, "expected": expected, "found": found}]


MISTAKES = {
    "no case": ("", "case: there is none"),
    "toml": ("[[case", "toml: "),
    "unknown key": (case("expect.statsu = 4"), "case[0] (it).expect.statsu: unknown key; did you mean `status`?"),
    "unknown verdict": (case('expect = "maybe"'), "case[0] (it).expect.verdict: Invalid enum value 'maybe'"),
    "no expectation": (case(""), "case[0] (it).expect: write"),
    "wrong type": (case('expect.status = "403"'), "case[0] (it).expect.status: Expected `int | null`"),
    "two callers": (case('as = "a"\ncredential = "b"\nexpect = "admit"'), "case[0] (it): has `as` and a `credential`"),
    "two bodies": (case('request = "{}"\nrequest_file = "x"\nexpect = "admit"'), "has a `request` and a `request_file`"),
    "no file": (case('request_file = "nowhere.json"\nexpect = "admit"'), "nowhere.json: No such file"),
    "no secret": (case('credential = { env = "NOT_SET_HERE" }\nexpect = "admit"'), "NOT_SET_HERE is not set"),
    "twice": (case('expect = "admit"\n') * 2, "case[1] (it): another case has this name"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "complaint"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_told_with_their_place(policy, text: str, complaint: str):
    code, printed = policy(text)

    assert code == 2
    assert f"error: /cases.toml: {complaint}" in printed or complaint in printed


def test_every_mistake_is_told_at_once(policy):
    _, printed = policy(case("expect.a = 1\nb = 2") + "\n[[case]]\nc = 3")

    assert printed.count("unknown key") == 3


def test_without_a_request_there_must_be_one_in_the_defaults(policy):
    code, printed = policy(case('expect = "admit"'), defaults="")

    assert code == 2
    assert "case[0] (it): what is sent?" in printed


def test_a_body_may_be_a_file_beside_the_cases(policy, tmp_path: Path):
    (tmp_path / "body.json").write_bytes(b'{"model":"claude-haiku-5-5","max_tokens":1e1}')

    _, report = policy(case('request_file = "body.json"\nexpect = { pointer = "/messages" }'))

    assert report["failed"] == 0


def test_a_bad_configuration_is_told(policy):
    code, printed = policy(case('expect = "admit"'), config='[[plugins]]\nuse = "modles"')

    assert code == 2
    assert "did you mean `models`?" in printed


def test_a_secret_that_the_build_lacks_is_made_up_and_gone_again(policy):
    config = '[[plugins]]\nuse = "redact"\n\n[plugins.config]\nkey = { env = "A_REDACT_KEY" }\n'
    config += f'cache_dir = "{rules_dir()}"'
    secret = "AKIA" + "QYLPMN5HFIQR7XYA"
    text = f'messages = [{{ role = "user", content = "id {secret}" }}]'

    code, report = policy(
        case(f'request = {{ {text} }}\nexpect = {{ edited = ["redact"], lacks = ["{secret}"] }}'),
        config=config,
    )

    assert (code, report["failed"]) == (0, 0)
    assert "A_REDACT_KEY" not in os.environ


def test_without_json_it_is_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "tidegate.toml").write_text(CONFIG)
    cases = f'{DEFAULTS}\n[[case]]\nname = "good"\nexpect = "admit"\n[[case]]\nname = "bad"\nexpect = "refuse"'
    (tmp_path / "cases.toml").write_text(cases)

    code = cli.main(
        [
            "policy",
            "test",
            str(tmp_path / "cases.toml"),
            "--config",
            str(tmp_path / "tidegate.toml"),
        ]
    )

    lines = capsys.readouterr().out.splitlines()
    assert code == 1
    assert lines[1:] == [
        "  ok    good",
        "  FAIL  bad",
        "        verdict      expected refuse",
        "                     found    admit",
        "        decision     admit, unedited",
        "1 passed, 1 failed",
    ]


CHATS = {
    "a chat": 'expect = { verdict = "admit", model = "claude-haiku-5-5" }',
    "a model": 'request = { model = "gpt-5" }\nexpect = { by = "models", status = 404 }',
    "a limit": 'request = { max_completion_tokens = 1001 }\nexpect = { by = "limits", pointer = "/max_tokens" }',
    "many": 'request = { n = 2 }\nexpect = { by = "gateway", rule = "body", pointer = "/n", status = 400 }',
}


@pytest.mark.parametrize("mode", ["convert", "pass"])
@pytest.mark.parametrize("name", CHATS)
def test_a_chat_is_judged_as_it_is_served(policy: Any, mode: str, name: str) -> None:
    defaults = """
    [defaults]
    as = "search"
    request = { model = "claude-haiku-5-5", messages = [{ role = "user", content = "hi" }] }
    """
    config = CONFIG.replace(
        "max_tokens = 1000\n", f"max_tokens = {1000 if name == 'a limit' else 5000}\n"
    )
    config = f'[openai]\nchat_completions = "{mode}"\n{config}'
    cases = case(f'target = "/v1/chat/completions"\n{CHATS[name]}')
    code, found = policy(cases, defaults=defaults, config=config)
    assert code == 0, found


def test_a_chat_is_not_there_by_default(policy: Any) -> None:
    expected = 'expect = { by = "gateway", rule = "path", status = 404 }'
    code, found = policy(case(f'target = "/v1/chat/completions"\n{expected}'))
    assert code == 0, found
