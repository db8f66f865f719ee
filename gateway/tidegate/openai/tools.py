"""The tools of a chat request, and which of them may be used (messages-api sheet, section 9.2)."""

from typing import Any

from tidegate.openai.refusing import Json, Place, typed

_NO_PARAMETERS: Json = {"type": "object", "properties": {}}


def tools_of(tools: Any, place: Place) -> list[Json]:
    """Return functions as tools.

    Raises:
        BodyError: a tool is none, or cannot be converted.
    """
    if tools is None:
        return []
    typed(tools, list, "an array", place)
    return [_tool(tool, place.at(index)) for index, tool in enumerate(tools)]


def _tool(tool: Any, place: Place) -> Json:
    typed(tool, dict, "an object", place)
    if tool.get("type") != "function":
        if place.lenient and type(tool.get("type")) is str:
            return dict(tool)
        raise place.at("type").unknown("only functions can be")
    rest = place.rest(tool, ("type", "function"))
    here = place.at("function")
    function = typed(tool.get("function"), dict, "an object", here)
    rest |= here.rest(function, ("name", "description", "parameters", "strict"))
    made: Json = {"name": typed(function.get("name"), str, "a string", here.at("name"))}
    description, parameters = function.get("description"), function.get("parameters")
    if description is not None:
        made["description"] = typed(description, str, "a string", here.at("description"))
    if parameters is not None:
        typed(parameters, dict, "an object", here.at("parameters"))
    made["input_schema"] = parameters or _NO_PARAMETERS
    if function.get("strict") is not None and typed(
        function["strict"], bool, "true or false", here.at("strict")
    ):
        made["strict"] = True
    return place.merged(rest, made)


def choice_of(document: Json, tools: list[Json], top: Place) -> tuple[Json, list[Json]]:
    """Return Messages' `tool_choice`, empty where there is nothing to say, and the tools left.

    Raises:
        BodyError: the choice cannot be converted.
    """
    parallel = document.get("parallel_tool_calls")
    if parallel is not None:
        typed(parallel, bool, "true or false", top.at("parallel_tool_calls"))
    choice, place = document.get("tool_choice"), top.at("tool_choice")
    made: Json = {}
    if type(choice) is dict and choice.get("type") == "allowed_tools":
        made, tools = _allowed(choice, tools, place)
    elif choice is not None:
        made = _choice(choice, place)
    if parallel is False and tools and made.get("type") != "none":
        made = {**(made or {"type": "auto"}), "disable_parallel_tool_use": True}
    return made, tools


_WORDS = {"none": "none", "auto": "auto", "required": "any"}


def _choice(choice: Any, place: Place) -> Json:
    if type(choice) is str and choice in _WORDS:
        return {"type": _WORDS[choice]}
    if type(choice) is not dict or choice.get("type") != "function":
        raise place.bad("must be none, auto, required, a function or allowed_tools")
    return {"type": "tool", "name": _function(choice, place)}


def _function(holder: Any, place: Place) -> str:
    """Return the name that `{type: function, function: {name}}` holds."""
    typed(holder, dict, "an object", place)
    place.rest(holder, ("type", "function"))
    if holder.get("type") != "function":
        raise place.at("type").bad("must be function")
    here = place.at("function")
    function = typed(holder.get("function"), dict, "an object", here)
    here.rest(function, ("name",))
    name: str = typed(function.get("name"), str, "a string", here.at("name"))
    return name


def _allowed(choice: Json, tools: list[Json], place: Place) -> tuple[Json, list[Json]]:
    """Return the choice among some of the tools, and these."""
    place.rest(choice, ("type", "allowed_tools"))
    here = place.at("allowed_tools")
    allowed = typed(choice.get("allowed_tools"), dict, "an object", here)
    here.rest(allowed, ("mode", "tools"))
    mode = allowed.get("mode")
    if mode not in ("auto", "required"):
        raise here.at("mode").bad("must be auto or required")
    listed = typed(allowed.get("tools"), list, "an array", here.at("tools"))
    names = [_function(one, here.at("tools").at(index)) for index, one in enumerate(listed)]
    known = {tool.get("name") for tool in tools}
    for index, name in enumerate(names):
        if name not in known:
            raise here.at("tools").at(index).bad("is not among the request's tools")
    return {"type": _WORDS[mode]}, [tool for tool in tools if tool.get("name") in names]
