"""Upstreams as they are configured: what a profile means, which is chosen, what is wrong with them."""

import pytest

from tidegate.config import read
from tidegate.errors import ConfigError
from tidegate.exchange import Principal
from tidegate.pipeline.targets import choose, open_targets
from tidegate.testing.fakes import DOCUMENT, make_exchange, make_request
from tidegate.wire.routes import Kind

THREE = """
[[upstreams]]
name = "translation"
url = "https://one.invalid"
profile = "onedim"
teams = ["translation"]
[[upstreams]]
name = "opus"
url = "https://two.invalid"
profile = "custom"
models = ["claude-opus-*", "claude-fable-5"]
[upstream]
url = "https://rest.invalid"
"""


def chosen(toml: str, team: str, model: str, kind: Kind = Kind.MESSAGES) -> str | None:
    config, problems = read(toml)
    assert not problems
    request = make_request(
        {**DOCUMENT, "model": model}, kind=kind, principal=Principal("somebody", team)
    )
    target = (f"/v1/models/{model}") if kind is Kind.MODEL else None
    exchange = make_exchange(kind, target=target)
    found = choose(open_targets(config), exchange, request)
    return None if found is None else found.name


@pytest.mark.parametrize(
    ("team", "model", "name"),
    [
        ("translation", "claude-opus-4-7", "translation"),
        ("translation", "anything", "translation"),
        ("search", "claude-opus-4-7", "opus"),
        ("search", "claude-opus-4-7[1m]", "opus"),
        ("search", "claude-fable-5", "opus"),
        ("search", "claude-fable-5-2", "default"),
        ("search", "Claude-Opus-4-7", "default"),
        ("", "xclaude-opus-4-7", "default"),
        ("Translation", "claude-haiku-4-5", "default"),
    ],
)
def test_the_first_that_takes_team_and_model_is_chosen(team: str, model: str, name: str) -> None:
    assert chosen(THREE, team, model) == name


def test_without_a_last_one_there_may_be_none() -> None:
    named = THREE.partition("[upstream]\n")[0]
    assert chosen(named, "search", "claude-opus-4-7") == "opus"
    assert chosen(named, "search", "claude-haiku-4-5") is None


def test_a_model_in_the_path_counts_as_well() -> None:
    assert chosen(THREE, "search", "claude-opus-4-7", Kind.MODEL) == "opus"
    assert chosen(THREE, "search", "claude-haiku-4-5", Kind.MODEL) == "default"


def test_a_list_of_models_is_asked_of_the_first_for_the_team() -> None:
    assert chosen(THREE, "translation", "", Kind.MODELS) == "translation"
    assert chosen(THREE, "search", "", Kind.MODELS) == "opus"


def test_one_upstream_is_as_it_always_was() -> None:
    config, problems = read('[upstream]\nurl = "http://localhost:1/base"')
    assert not problems
    (target,) = open_targets(config)
    assert (target.name, target.config.url, target.own) == (
        "default",
        "http://localhost:1/base",
        None,
    )
    assert target.has(Kind.COUNT_TOKENS)


def test_a_flag_is_for_the_last_one() -> None:
    config, problems = read(THREE, {"upstream": {"url": "http://localhost:2"}})
    assert not problems
    assert [target.url for target in config.targets][2:] == ["http://localhost:2"]


def test_a_profile_is_what_the_file_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "t-1")
    monkeypatch.setenv("SEARCH_TOKEN", "t-2")
    config, problems = read("""
        [upstream]
        profile = "onedim"
        endpoints = ["messages", "count_tokens"]
        credential = { env = "TOKEN" }
        credentials.search = { env = "SEARCH_TOKEN" }
    """)
    assert not problems
    (target,) = open_targets(config)
    assert target.credential("web") == (b"authorization", b"Bearer t-1")
    assert target.credential("search") == (b"authorization", b"Bearer t-2")
    assert target.has(Kind.COUNT_TOKENS)
    assert not target.has(Kind.MODELS)
    assert (target.profile.version_policy, target.profile.api_version) == ("added", "2023-06-01")


def test_secrets_that_are_not_there_are_all_named() -> None:
    config, problems = read("""
        [[upstreams]]
        name = "a"
        teams = ["a"]
        credential = { env = "NOT_THERE_1" }
        [upstream]
        credentials.search = { env = "NOT_THERE_2" }
    """)
    assert not problems
    with pytest.raises(ConfigError) as caught:
        open_targets(config)
    assert [problem.path for problem in caught.value.problems] == [
        "upstreams[0].credential",
        "upstream.credentials.search",
    ]


@pytest.mark.parametrize(
    ("toml", "path", "said"),
    [
        ('[upstream]\nprofile = "other"', "upstream.profile", "Invalid enum value"),
        ('[upstream]\nname = "a b"', "upstream.name", "letters"),
        ('[upstream]\nendpoints = ["upload"]', "upstream.endpoints", "no endpoint is `upload`"),
        ('[upstream]\nversion_policy = "forced"', "upstream.api_version", "name the version"),
        ('[upstream]\napi_version = "a\\nb"', "upstream.api_version", "must be a version"),
        ("[upstream]\ncredentials.a = {}", "upstream.credentials.a", "name one place"),
        ('[[upstreams]]\nurl = "ftp://x"', "upstreams[0].url", "http(s)://"),
        ('[[upstreams]]\nname = "a"\n[upstream]', "upstream", "never used: `a`"),
        (
            '[[upstreams]]\nteams = ["x"]\n[[upstreams]]\nteams = ["y"]',
            "upstreams[1].name",
            "`default` is taken",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_place(toml: str, path: str, said: str) -> None:
    _, problems = read(toml)
    assert [problem.path for problem in problems] == [path]
    assert said in problems[0].message
