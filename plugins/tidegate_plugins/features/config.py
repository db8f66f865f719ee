"""What the policy `features` is configured with: what may be used, area by area."""

from typing import Literal

import msgspec

from tidegate.plugin import PluginConfig


class Area(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Words or globs. `deny` wins; without `allow`, whatever is not denied is allowed."""

    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()


class Rules(PluginConfig, frozen=True):
    """What may be used; an area left away allows everything, but for `endpoints`."""

    endpoints: Area | None = None
    """`messages`, `count_tokens`, `models`, `batches`, `files`; the last two must be allowed
    by name."""
    betas: Area | None = None
    """Values of `anthropic-beta`; `unknown` is any that this release has not heard of."""
    tools: Area | None = None
    """Families (`web_search`, `code_execution`, `computer`, …), exact types, or `server`,
    `client`, `unknown`."""
    fields: Area | None = None
    """Top-level fields of a request beyond the ordinary (`mcp_servers`, `container`,
    `fallbacks`, `thread`, …); `unknown` is any that the API did not have."""
    mcp_hosts: Area | None = None
    url_hosts: Area | None = None
    """Where images and documents may be fetched from."""
    url_schemes: Area | None = None
    """Of those, and of MCP servers."""
    sources: Area | None = None
    """How images and documents come: `base64`, `text`, `content`, `url`, `file`."""
    skills: Area | None = None
    """`anthropic/ID` and `custom/ID`."""
    service_tiers: Area | None = None
    speeds: Area | None = None
    inference_geos: Area | None = None
    """`unsaid` is a request that leaves it to the workspace."""
    headers: Area | None = None
    """`anthropic-workspace-id`, `anthropic-user-profile-id`: whose account is used."""
    stream: Literal["required", "forbidden"] | None = None


class Config(Rules, frozen=True):
    """The rules for everybody, and what differs for teams."""

    teams: dict[str, Rules] = {}
    """An area that a team has takes the place of the general one."""
