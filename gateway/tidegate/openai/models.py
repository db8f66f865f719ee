"""The list of models as OpenAI's clients read it."""

from datetime import datetime
from typing import Any

from tidegate.openai.refusing import Json


def listing(document: Any) -> Any:
    """Return a list of models, or one, in OpenAI's shape; what is neither stays as it is."""
    if type(document) is not dict or "object" in document:
        return document
    if type(document.get("data")) is list:
        models = [_model(model) for model in document["data"] if type(model) is dict]
        return {"object": "list", "data": models}
    return _model(document) if document.get("type") == "model" else document


def _model(model: Json) -> Json:
    """Keep the name for people: Claude Code looks for it in whatever list it is given."""
    named = {key: model[key] for key in ("display_name",) if key in model}
    made: Json = {"id": model.get("id"), "object": "model", "created": _seconds(model)}
    return {**made, "owned_by": "anthropic", **named}


def _seconds(model: Json) -> int:
    try:
        return max(0, int(datetime.fromisoformat(model.get("created_at") or "").timestamp()))
    except (ValueError, TypeError, OverflowError):
        return 0
