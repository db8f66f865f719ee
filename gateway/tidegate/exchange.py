"""The values that flow in the path of one exchange: fixed once made, shared by every policy.

Those made for every request are msgspec structs: a frozen dataclass of this size takes
1.5 us to make, a frozen struct 0.2 us.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from tidegate.wire.body import Body
from tidegate.wire.messages import View
from tidegate.wire.routes import Route


@dataclass(frozen=True, slots=True)
class Credential:
    """What the caller presented. Its value is never shown: not in repr, not in a traceback."""

    value: str = field(repr=False)
    form: str
    """`x-api-key` or `bearer`."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom the exchange is accounted to."""

    id: str
    team: str
    labels: Mapping[str, str] = field(default_factory=dict)


ANONYMOUS = Principal(id="anonymous", team="none")
"""The principal where no identity policy is configured."""


class Client(msgspec.Struct, frozen=True):
    """What the calling program says of itself. Attribution, never authorization."""

    session: str = ""
    agent: str = ""
    parent_agent: str = ""
    app: str = ""
    """The product token of the user agent, such as `claude-cli/2.1.330`."""


class Trace(msgspec.Struct, frozen=True):
    """The W3C context of the exchange; `parent_id` is empty where the caller sent none."""

    trace_id: str
    span_id: str
    parent_id: str = ""
    flags: int = 1


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """One request and its answer, as known when the head has been read."""

    id: str
    at: float
    """Seconds since the epoch."""
    route: Route
    peer: str
    """IP address of the connection's other end."""
    headers: Mapping[str, str]
    """The request's headers, case-insensitive, credentials taken out; repeated ones joined."""
    client: Client
    trace: Trace


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy decides on: the body as the previous policies left it, and who sent it."""

    body: Body
    view: View
    principal: Principal
    credential: Credential | None
