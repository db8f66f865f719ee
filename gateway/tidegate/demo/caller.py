"""How the people of the demo call: a JSON answer, a stream, a stream left in the middle."""

import json
import random
import string
from typing import Any

import aiohttp

from tidegate.demo.cast import Cast, Person

Document = dict[str, Any]


class Caller:
    """Sends requests through the gateway."""

    def __init__(self, session: aiohttp.ClientSession, people: Cast, chance: random.Random) -> None:
        self.people = people
        self.chance = chance
        self._session = session

    async def get(self, who: Person, path: str) -> None:
        """Read something."""
        async with self._session.get(path, headers=_headers(who, "")) as answer:
            await answer.read()

    async def post(
        self,
        who: Person,
        document: Document,
        *,
        path: str = "/v1/messages",
        simulate: str = "",
        leave_after: int | None = None,
    ) -> bytes:
        """Send a request and read the answer, or only its first `leave_after` pieces."""
        headers = _headers(who, simulate)
        async with self._session.post(path, json=document, headers=headers) as answer:
            if leave_after is None:
                return await answer.read()
            async for _ in answer.content.iter_any():
                leave_after -= 1
                if not leave_after:
                    answer.close()  # and its connection with it
                    break
        return b""

    def secret(self) -> str:
        """Return something that looks like an AWS key id, and opens nothing."""
        letters = string.ascii_uppercase + "234567"
        return "AKIA" + "".join(self.chance.choices(letters, k=16))

    def token(self) -> str:
        """Return something that looks like a GitHub token, and opens nothing."""
        return "ghp_" + "".join(self.chance.choices(string.ascii_letters + string.digits, k=36))


def _headers(who: Person, simulate: str) -> dict[str, str]:
    headers = {
        "x-api-key": who.key,
        "anthropic-version": "2023-06-01",
        "user-agent": who.agent,
    }
    if who.agent.startswith("claude-cli"):
        headers["x-claude-code-session-id"] = f"demo-{who.id}"
    return headers | ({"x-simulate": simulate} if simulate else {})


def ask(model: str, text: str, *, max_tokens: int = 1024, **more: Any) -> Document:
    """Return a request with one question."""
    message = {"role": "user", "content": text}
    return {"model": model, "max_tokens": max_tokens, "messages": [message], **more}


def tool_use_in(raw: bytes) -> Document | None:
    """Return the tool use that an answer ends with, if it does."""
    for block in json.loads(raw).get("content", ()):
        if block["type"] == "tool_use":
            found: Document = block
            return found
    return None
