"""Profiles: how the APIs of providers differ that speak Messages (messages-api sheet, section 11)."""

import msgspec

from tidegate.wire.routes import LOCAL, Kind

ENDPOINTS = frozenset(kind.value for kind in Kind if kind not in LOCAL | {Kind.NONE})
"""What an upstream can have, by the name of its route."""


class Profile(msgspec.Struct, frozen=True):
    """What a provider's API wants and has."""

    auth_header: str | None = None
    """The only header it takes a credential in; None: either, the gateway's own in `x-api-key`."""
    version_policy: str = "left"
    """What is done about `anthropic-version`: `left`, `required`, `added` or `forced`."""
    api_version: str = ""
    endpoints: frozenset[str] | None = None
    """None: every endpoint that the gateway serves."""
    usage: str = "cumulative"
    """Numbers in a stream: `cumulative`, the last counts; `increments`, they add up."""


PROFILES = {
    "anthropic": Profile(),
    "onedim": Profile(
        auth_header="authorization",
        version_policy="added",
        api_version="2023-06-01",
        endpoints=frozenset({Kind.MESSAGES.value, Kind.CHAT.value}),
    ),
    "custom": Profile(),
}
