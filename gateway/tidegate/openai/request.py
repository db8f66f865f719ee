"""A chat request as one of Messages (messages-api sheet, section 9.2).

Every field is converted or refused by name; none is dropped. What says nothing may be there: null,
and values that are OpenAI's defaults and the only thing that Messages does.
"""

from collections.abc import Callable
from typing import Any

from tidegate.openai.refusing import Json, Place, typed
from tidegate.openai.tools import choice_of, tools_of
from tidegate.openai.turns import turns_of

MAX_TOKENS = ("max_completion_tokens", "max_tokens")
"""Both mean the same; the first is today's name."""


def to_messages(document: Json, *, default_max_tokens: int = 0, lenient: bool = False) -> Json:
    """Return a chat request as one of Messages; of 0, `max_tokens` may be missing from it.

    With `lenient`, what has no counterpart is kept under its own name: for policies, which
    then judge it as an unknown field. Types that `wire.messages.view` checks are left to it.

    Raises:
        BodyError: naming a field, and what to do about it.
    """
    top = Place("", lenient)
    made: Json = {}
    if "model" in document:
        made["model"] = document["model"]
    limit = _max_tokens(document, top) or default_max_tokens or None
    if limit is not None:
        made["max_tokens"] = limit
    made |= turns_of(document.get("messages"), top.at("messages"))
    made |= _tools(document, top)
    for key, convert in _FIELDS.items():
        if document.get(key) is not None:
            _join(made, convert(document[key], top.at(key)), top.at(key))
    _check_count(document, top)
    known = {key for key in document if key in _KNOWN or _says_nothing(key, document[key])}
    for key, value in top.rest(document, known, _FIXES).items():
        _join(made, {key: value}, top.at(key))
    return made


def max_tokens_key(document: Json) -> str | None:
    """Return the key under which a chat request limits its output, if it does."""
    return next((key for key in MAX_TOKENS if document.get(key) is not None), None)


def _max_tokens(document: Json, top: Place) -> Any:
    found = [document[key] for key in MAX_TOKENS if document.get(key) is not None]
    if len(found) == 2 and (found[0] != found[1] or type(found[0]) is not type(found[1])):
        raise top.at("max_tokens").bad("differs from max_completion_tokens; send one of them")
    for value in found:
        if type(value) is not int or value < 1:
            raise top.at(max_tokens_key(document) or "").bad("must be an integer above 0")
    return next(iter(found), None)


def _join(made: Json, more: Json, place: Place) -> None:
    """Add what one field says to what others have said.

    Raises:
        BodyError: another has said something else.
    """
    for key, value in more.items():
        before = made.setdefault(key, value)
        if before == value:
            continue
        if type(before) is not dict or type(value) is not dict or before.keys() & value.keys():
            raise place.bad(f"there is another value for Messages' `{key}`; send one of them")
        made[key] = {**before, **value}


def _tools(document: Json, top: Place) -> Json:
    tools = tools_of(document.get("tools"), top.at("tools"))
    choice, tools = choice_of(document, tools, top)
    made: Json = {"tools": tools} if tools else {}
    return made | ({"tool_choice": choice} if choice else {})


def _check_count(document: Json, top: Place) -> None:
    """Refuse several answers at once, also where a request is only read: nothing accounts for them."""
    count = document.get("n")
    if count is not None and (type(count) is not int or count != 1):
        raise top.at("n").bad("only 1 answer can be asked for at once; send the request n times")


# one field each


def _temperature(value: Any, place: Place) -> Json:
    if type(value) not in (int, float):
        raise place.bad("must be a number")
    if not 0 <= value <= 1 and not place.lenient:
        raise place.bad("must be from 0 to 1 for these models; ask for at most 1")
    return {"temperature": value}


def _top_p(value: Any, place: Place) -> Json:
    if type(value) not in (int, float):
        raise place.bad("must be a number")
    return {"top_p": value}


def _stop(value: Any, place: Place) -> Json:
    sequences = [value] if type(value) is str else typed(value, list, "a string or an array", place)
    for index, sequence in enumerate(sequences):
        here = place if type(value) is str else place.at(index)
        if not typed(sequence, str, "a string", here).strip():
            raise here.bad("a stop sequence needs more than white space")
    return {"stop_sequences": sequences} if sequences else {}


def _stream(value: Any, _place: Place) -> Json:
    return {"stream": value}


def _user(value: Any, place: Place) -> Json:
    return {"metadata": {"user_id": typed(value, str, "a string", place)}}


def _metadata(value: Any, place: Place) -> Json:
    metadata = typed(value, dict, "an object", place)
    kept = place.rest(metadata, ("user_id",))
    user = metadata.get("user_id")
    named = {} if user is None else {"user_id": typed(user, str, "a string", place.at("user_id"))}
    return {"metadata": {**named, **kept}} if named or kept else {}


_EFFORTS = ("low", "medium", "high", "xhigh", "max")


def _effort(value: Any, place: Place) -> Json:
    if value == "none":
        return {"thinking": {"type": "disabled"}}
    if value not in _EFFORTS:
        raise place.bad(f"must be none, {', '.join(_EFFORTS)}")
    return {"output_config": {"effort": value}}


def _thinking(value: Any, place: Place) -> Json:
    return {"thinking": typed(value, dict, "an object", place)}


def _response_format(value: Any, place: Place) -> Json:
    wanted = typed(value, dict, "an object", place)
    match wanted.get("type"):
        case "text":
            place.rest(wanted, ("type",))
            return {}
        case "json_object":
            place.rest(wanted, ("type",))
            schema: Json = {"type": "object"}
        case "json_schema":
            place.rest(wanted, ("type", "json_schema"))
            schema = _schema(wanted.get("json_schema"), place.at("json_schema"))
        case _:
            raise place.at("type").bad("must be text, json_object or json_schema")
    return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}


def _schema(value: Any, place: Place) -> Json:
    """Return the schema; its name stays here, and what describes it goes into it."""
    holder = typed(value, dict, "an object", place)
    place.rest(holder, ("name", "strict", "schema", "description"))
    schema: Json = typed(holder.get("schema"), dict, "an object", place.at("schema"))
    description = holder.get("description")
    if description is None:
        return schema
    if "description" in schema:
        raise place.at("description").bad("the schema has one of its own; leave one of them away")
    return {"description": typed(description, str, "a string", place.at("description")), **schema}


_TIERS = {"auto": "auto", "default": "standard_only"}


def _service_tier(value: Any, place: Place) -> Json:
    tier = _TIERS.get(value) if type(value) is str else None
    if tier is None and not place.lenient:
        raise place.bad("must be auto or default")
    return {"service_tier": tier or value}


def _stream_options(value: Any, place: Place) -> Json:
    options = typed(value, dict, "an object", place)
    if options.get("include_obfuscation") is not False:
        place.rest(options, ("include_usage",))
    else:
        place.rest(options, ("include_usage", "include_obfuscation"))
    if options.get("include_usage") is not None:
        typed(options["include_usage"], bool, "true or false", place.at("include_usage"))
    return {}


_FIELDS: dict[str, Callable[[Any, Place], Json]] = {
    "stream": _stream,
    "stop": _stop,
    "temperature": _temperature,
    "top_p": _top_p,
    "response_format": _response_format,
    "reasoning_effort": _effort,
    "thinking": _thinking,
    "user": _user,
    "safety_identifier": _user,
    "metadata": _metadata,
    "service_tier": _service_tier,
    "stream_options": _stream_options,
}
_KNOWN = frozenset(_FIELDS) | {
    *("model", "messages", *MAX_TOKENS, "tools", "tool_choice", "parallel_tool_calls", "n"),
}
_NOTHING: dict[str, tuple[Any, ...]] = {
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "presence_penalty": (0, 0.0),
    "frequency_penalty": (0, 0.0),
    "store": (False,),
    "modalities": (["text"],),
    "verbosity": ("medium",),
}
"""Values that are as if the field were not there."""

_FIXES = {
    "functions": "use `tools`",
    "function_call": "use `tool_choice`",
    "web_search_options": "server tools can be used at /v1/messages",
    "top_k": "it can be used at /v1/messages",
    "system": "send a message with the role `system`",
    "stop_sequences": "use `stop`",
}


def _says_nothing(key: str, value: Any) -> bool:
    return any(type(value) is type(one) and value == one for one in _NOTHING.get(key, ()))
