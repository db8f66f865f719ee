"""What users write for the plugin, and nothing else: importing this loads no engine."""

from typing import Annotated, Literal

import msgspec

from tidegate.plugin import PluginConfig

Action = Literal["mask", "block", "detect", "off"]
Pii = Literal["card", "iban", "ssn", "email", "phone"]
Count = Annotated[int, msgspec.Meta(ge=1)]
Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{10,64}$")]


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the HMAC key is: an environment variable, or a file."""

    env: str = ""
    file: str = ""

    def __post_init__(self) -> None:
        if bool(self.env) == bool(self.file):
            raise ValueError("give either `env` or `file`")


class Allow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is left alone although a rule finds it. Recorded as `allowed`."""

    digests: tuple[Digest, ...] = ()
    """HMACs of values: the hex of a placeholder, or more of it."""
    rules: tuple[str, ...] = ()
    pointers: tuple[str, ...] = ()
    """JSON pointers; `*` stands for one token, `**` for any number."""


class Team(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is different for one team. What is not given is as for everyone."""

    action: Action | None = None
    actions: dict[str, Action] = {}
    assistant: Literal["detect", "refuse"] | None = None


class RedactConfig(PluginConfig, frozen=True):
    """Secrets: what is done about them."""

    action: Action = "mask"
    actions: dict[str, Action] = {}
    """By rule or group of rules; a rule goes before its group, a group before `action`."""
    assistant: Literal["detect", "refuse"] = "detect"
    """Hits in what the model wrote or the provider signed, which cannot be edited."""
    fixed: Literal["detect", "refuse"] = "detect"
    """Hits that would be masked, but stand in a URL, a key or another name."""
    responses: Literal["detect", "off"] = "detect"
    """Answers, once they have been passed on: what they hold is recorded."""
    teams: dict[str, Team] = {}
    allow: Allow = Allow()
    pii: tuple[Pii, ...] = ()
    key: Key | None = None
    """None: generated once and kept in the state directory."""
    deadline_ms: Count = 5000
    """For one body, waiting for a thread included."""
    on_timeout: Literal["refuse", "admit"] = "refuse"
    window_timeout_ms: Count = 500
    """For one window of 64 KiB."""
    inline_bytes: Annotated[int, msgspec.Meta(ge=0)] = 65_536
    """Bodies with more than that to search are searched in a thread."""
    threads: Count = 2
    memo_entries: Annotated[int, msgspec.Meta(ge=0)] = 131_072
    """Strings whose result is remembered, and half as many pieces of conversations. 0: none."""
    pin: Literal["none", "session"] = "none"
    """`session`: a conversation keeps the rule set that its session began with."""
    pin_sessions: Count = 10_000
    """Sessions that are known; of more, those that began first get the current rule set."""
    cache_dir: str = ""
    """Where the compiled rules are kept. Empty: in the user's cache directory."""
