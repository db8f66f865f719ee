"""Who takes part: made-up teams with keys of this run, and the gateway's configuration."""

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tidegate.keys import PREFIX, digest

UPSTREAM_KEY_VARIABLE = "TIDEGATE_DEMO_UPSTREAM_KEY"


@dataclass(frozen=True, slots=True)
class Person:
    """A caller of the demo: a gateway key, and what the client calls itself."""

    id: str
    team: str
    agent: str
    key: str


@dataclass(frozen=True, slots=True)
class Cast:
    """Everybody."""

    search: Person
    web: Person
    data: Person
    research: Person

    def __iter__(self) -> Iterator[Person]:
        return iter((self.search, self.web, self.data, self.research))


def cast() -> Cast:
    """Return the cast, with fresh keys."""
    return Cast(
        search=_person("ci-search", "search", "search-ci/3.1"),
        web=_person("ana", "web", "claude-cli/2.1.330"),
        data=_person("nightly", "data", "Anthropic/Python"),
        research=_person("kim", "research", "claude-cli/2.1.330"),
    )


def _person(id_: str, team: str, agent: str) -> Person:
    # Short, to fit on a line with curl: it opens a door on this machine for a moment.
    return Person(id_, team, agent, f"{PREFIX}demo-{secrets.token_hex(8)}")


def configuration(people: Cast, upstream: str, journal: Path, port: int, admin_port: int) -> str:
    """Return the TOML that the gateway of the demo is started with."""
    keys = "\n".join(f"  {_entry(person)}," for person in people)
    return f"""\
[listen]
port = {port}
drain_s = 10

[admin]
port = {admin_port}

[upstream]
url = {json.dumps(upstream)}
credential = {{ env = "{UPSTREAM_KEY_VARIABLE}" }}

[journal]
dir = {json.dumps(str(journal))}

[[plugins]]
use = "identify"
[plugins.config]
keys = [
{keys}
]

[[plugins]]
use = "models"
[plugins.config]
allow = ["claude-haiku-*", "claude-sonnet-*"]
teams.research.allow = ["*"]

[[plugins]]
use = "limits"
[plugins.config]
max_tokens = 8192
over = "reject"
teams.data.over = "clamp"
teams.research.max_tokens = 32000

[[plugins]]
use = "quota"
[plugins.config]
store = "memory"
limits = [
  {{ name = "org-burst", scope = "org", per = "minute", requests = 6000 }},
  {{ name = "team-day", scope = "team", per = "day", usd = 50.0, soft = 0.8 }},
  {{ name = "streams", scope = "team", concurrent = 50 }},
]

[[plugins]]
use = "redact"

[[plugins]]
use = "metrics"

[[plugins]]
use = "tracing"

[[plugins]]
use = "usage"
"""


def _entry(person: Person) -> str:
    values = (("id", person.id), ("team", person.team), ("sha256", digest(person.key)))
    return "{ " + ", ".join(f"{key} = {json.dumps(value)}" for key, value in values) + " }"
