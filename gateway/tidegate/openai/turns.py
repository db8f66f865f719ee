"""The messages of a chat as a system prompt and turns (messages-api sheet, section 9.2)."""

import re
from typing import Any

from tidegate.openai.refusing import Json, Place, typed
from tidegate.wire.body import BodyError, parse

_SYSTEM = ("system", "developer")


def turns_of(messages: Any, place: Place) -> Json:
    """Return `messages` and `system` of a request.

    System and developer messages are taken out, wherever they stand, as the provider's own
    conversion does. Results of tools that follow each other are one turn, with what the user
    says next.

    Raises:
        BodyError: a message cannot be converted.
    """
    if type(messages) is not list:
        return {} if messages is None else {"messages": messages}  # for the view to refuse
    system: list[str] = []
    turns: list[Json] = []
    answering = False  # the last turn holds results of tools
    for index, message in enumerate(messages):
        here = place.at(index)
        typed(message, dict, "an object", here)
        role = message.get("role")
        if role in _SYSTEM:
            system += _system(message, here)
            continue
        turn = _turn(role, message, here)
        if answering and turn["role"] == "user":
            turns[-1]["content"] += _blocks(turn["content"])
        else:
            turns.append(turn)
        answering = role == "tool"
    found: Json = {"messages": turns}
    if system:
        found["system"] = system[0] if len(system) == 1 else [_text(text) for text in system]
    return found


def _blocks(content: Any) -> list[Json]:
    return content if type(content) is list else [_text(content)]


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


def _system(message: Json, place: Place) -> list[str]:
    """Return the texts of a system message. What is empty says nothing."""
    Place(place.pointer).rest(message, ("role", "content"), _FIXES)  # nowhere to keep the rest
    content, here = message.get("content"), Place(place.pointer).at("content")
    if type(content) is str:
        return [content] if content else []
    parts = typed(content, list, "a string or an array of parts", here)
    found = [_part(part, here.at(index)) for index, part in enumerate(parts)]
    for index, block in enumerate(found):
        if block.get("type") != "text":
            raise here.at(index).bad("a system message holds text only")
    return [block["text"] for block in found if block["text"]]


def _turn(role: Any, message: Json, place: Place) -> Json:
    match role:
        case "user":
            rest = place.rest(message, ("role", "content"), _FIXES)
            return place.merged(rest, {"role": "user", "content": _content(message, place)})
        case "assistant":
            return _assistant(message, place)
        case "tool":
            return _result(message, place)
        case "function":
            raise place.at("role").unknown("answer tool calls with the role `tool`")
        case _:
            raise place.at("role").bad("must be system, developer, user, assistant or tool")


def _content(message: Json, place: Place) -> str | list[Json]:
    content, here = message.get("content"), place.at("content")
    if type(content) is str:
        return content
    parts = typed(content, list, "a string or an array of parts", here)
    return [_part(part, here.at(index)) for index, part in enumerate(parts)]


_NAME_FIX = "say it in the text"
_FIXES = {"name": _NAME_FIX, "tool_calls": "only the assistant has them"}


def _assistant(message: Json, place: Place) -> Json:
    known = ["role", "content", "tool_calls", "refusal"]
    known += [key for key in ("annotations",) if message.get(key) == []]
    rest = place.rest(message, known, _FIXES)
    blocks: list[Json] = []
    content = message.get("content")
    if content is not None and content != "":
        blocks += _blocks(_content(message, place))
    refusal = message.get("refusal")
    if refusal is not None:
        blocks.append(_text(typed(refusal, str, "a string", place.at("refusal"))))
    calls, here = message.get("tool_calls"), place.at("tool_calls")
    if calls is not None:
        typed(calls, list, "an array", here)
        blocks += [_call(call, here.at(index)) for index, call in enumerate(calls)]
    plain = type(content) is str and len(blocks) <= 1 and not calls and refusal is None
    return {**rest, "role": "assistant", "content": content if plain else blocks}


def _call(call: Any, place: Place) -> Json:
    """Return one tool call as a block; its arguments are JSON in a string."""
    typed(call, dict, "an object", place)
    if call.get("type", "function") != "function":
        raise place.at("type").unknown("only calls of functions can be")
    known = ["id", "type", "function"] + (["index"] if type(call.get("index")) is int else [])
    rest = place.rest(call, known)
    here = place.at("function")
    function = typed(call.get("function"), dict, "an object", here)
    rest |= here.rest(function, ("name", "arguments"))
    made = {
        "type": "tool_use",
        "id": typed(call.get("id"), str, "a string", place.at("id")),
        "name": typed(function.get("name"), str, "a string", here.at("name")),
        "input": _arguments(function.get("arguments"), here.at("arguments")),
    }
    return place.merged(rest, made)


def _arguments(text: Any, place: Place) -> Json:
    if typed(text, str, "a string", place) == "":
        return {}
    try:
        return parse(text.encode("utf-8", "surrogatepass")).document
    except BodyError as error:
        what = error.message.replace("the body", "the string")
        raise place.bad(f"must be an object in JSON: {what}") from None


def _result(message: Json, place: Place) -> Json:
    rest = place.rest(message, ("role", "content", "tool_call_id"), _FIXES)
    id_ = typed(message.get("tool_call_id"), str, "a string", place.at("tool_call_id"))
    result = {"type": "tool_result", "tool_use_id": id_, "content": _content(message, place)}
    return {"role": "user", "content": [place.merged(rest, result)]}


# parts of content


def _part(part: Any, place: Place) -> Json:
    typed(part, dict, "an object", place)
    match part.get("type"):
        case "text":
            rest = place.rest(part, ("type", "text"))
            return rest | _text(typed(part.get("text"), str, "a string", place.at("text")))
        case "refusal":
            rest = place.rest(part, ("type", "refusal"))
            text = typed(part.get("refusal"), str, "a string", place.at("refusal"))
            return place.merged(rest, _text(text))
        case "image_url":
            rest = place.rest(part, ("type", "image_url"))
            return place.merged(rest, _image(part.get("image_url"), place.at("image_url")))
        case other if place.lenient and type(other) is str:
            return dict(part)
        case _:
            raise place.at("type").unknown("parts are text or image_url")


_DATA = re.compile(r"data:image/(png|jpeg|jpg|gif|webp);base64,([A-Za-z0-9+/]+={0,2})")
_WEB = re.compile(r"https?://", re.IGNORECASE)


def _image(image: Any, place: Place) -> Json:
    typed(image, dict, "an object", place)
    known = ["url"] + (["detail"] if image.get("detail") == "auto" else [])
    rest = place.rest(image, known, {"detail": "only `auto` can be"})
    source = source_of(image.get("url"), place.at("url"))
    return place.merged(rest, {"type": "image", "source": source})


def source_of(url: Any, place: Place) -> Json:
    """Return an image's address, or what it holds itself, as a source.

    Raises:
        BodyError: it is neither a web address nor an image in base64.
    """
    typed(url, str, "a string", place)
    data = _DATA.fullmatch(url)
    if data is not None:
        kind = "jpeg" if data[1] == "jpg" else data[1]
        return {"type": "base64", "media_type": f"image/{kind}", "data": data[2]}
    if _WEB.match(url):
        return {"type": "url", "url": url}
    raise place.bad("must be https://… or data:image/png|jpeg|gif|webp;base64,…")
