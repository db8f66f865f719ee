"""Tools: which of them the answer uses, and what it says when it does."""

import re
from typing import Any

from tidegate.simulator.ids import Ids
from tidegate.simulator.samples import sample

PAGE = "https://example.com/tides"
_SENTENCE = "The tide turns twice a day."
_ENCRYPTED = "U2ltdWxhdGVkIGNpcGhlcnRleHQ" * 4
_FIXED_INPUT: dict[str, dict[str, Any]] = {
    "bash": {"command": "echo tide"},
    "memory": {"command": "view", "path": "/memories"},
    "computer": {"action": "screenshot"},
    "str_replace_based_edit_tool": {"command": "view", "path": "tide.txt"},
    "str_replace_editor": {"command": "view", "path": "tide.txt"},
}
"""For the client tools whose schema only the API knows."""


Block = dict[str, Any]


def client_uses(document: dict[str, Any], text: str, ids: Ids) -> list[Block]:
    """Return the `tool_use` blocks that the request asks for, by force or in words."""
    choice = document.get("tool_choice") or {"type": "auto"}
    names = _names(document, choice, text)
    if choice.get("disable_parallel_tool_use"):
        names = names[:1]
    tools = {tool["name"]: tool for tool in _client_tools(document)}
    return [_use(tools[name], ids) for name in names]


def _names(document: dict[str, Any], choice: dict[str, Any], text: str) -> list[str]:
    names = [tool["name"] for tool in _client_tools(document)]
    if choice["type"] == "none":
        return []
    if choice["type"] == "tool":
        return [name for name in names if name == choice.get("name")]
    mentioned = [name for name in names if name in text]
    if mentioned:
        return mentioned
    wanted = choice["type"] == "any" or re.search(r"\btools?\b", text, re.IGNORECASE)
    return names[:1] if wanted else []


def _client_tools(document: dict[str, Any]) -> list[dict[str, Any]]:
    tools = document.get("tools") or []
    return [tool for tool in tools if "name" in tool and _served(tool) is None]


def _use(tool: dict[str, Any], ids: Ids) -> Block:
    name = tool["name"]
    schema = tool.get("input_schema")
    value = sample(schema) if schema else _FIXED_INPUT.get(name, {})
    identity = ids.new("toolu_01")
    return {"type": "tool_use", "id": identity, "name": name, "input": value or {}}


_FOUND = {
    "type": "web_search_result",
    "url": PAGE,
    "title": "Tides",
    "encrypted_content": _ENCRYPTED,
    "page_age": None,
}
_FETCHED = {
    "type": "web_fetch_result",
    "url": PAGE,
    "retrieved_at": "2026-11-22T12:00:00Z",
    "content": {
        "type": "document",
        "title": "Tides",
        "source": {"type": "text", "media_type": "text/plain", "data": _SENTENCE * 20},
    },
}
_RAN = {
    "type": "code_execution_result",
    "stdout": "42\n",
    "stderr": "",
    "return_code": 0,
    "content": [],
}
_ADVICE = {"type": "advisor_result", "text": "Wait for the ebb.", "stop_reason": "end_turn"}

_SERVED: dict[str, tuple[Block, Block]] = {
    "web_search_": ({"query": "tides"}, {"type": "web_search_tool_result", "content": [_FOUND]}),
    "web_fetch_": ({"url": PAGE}, {"type": "web_fetch_tool_result", "content": _FETCHED}),
    "code_execution_": (
        {"code": "print(6 * 7)"},
        {"type": "code_execution_tool_result", "content": _RAN},
    ),
    "advisor_": ({}, {"type": "advisor_tool_result", "content": _ADVICE}),
}
"""What the server's tools are given and return, by how their type begins."""


def server_uses(document: dict[str, Any], text: str, ids: Ids) -> list[Block]:
    """Return the blocks of the server's own tools: each is used once."""
    if (document.get("tool_choice") or {}).get("type") == "none":
        return []
    found: list[Block] = []
    for tool in document.get("tools") or []:
        served = _served(tool)
        if served is not None:
            given, result = served
            if "query" in given:
                given = {"query": text[:80] or given["query"]}
            identity = ids.new("srvtoolu_01")
            call = {"type": "server_tool_use", "id": identity, "name": tool["name"]}
            found += [call | {"input": given}, result | {"tool_use_id": identity}]
    return found


def _served(tool: dict[str, Any]) -> tuple[Block, Block] | None:
    kind = str(tool.get("type", ""))
    return next((pair for prefix, pair in _SERVED.items() if kind.startswith(prefix)), None)


def search_citation() -> Block:
    """Return a citation of what the search found."""
    return {
        "type": "web_search_result_location",
        "url": PAGE,
        "title": "Tides",
        "encrypted_index": _ENCRYPTED[:27],
        "cited_text": _SENTENCE,
    }
