"""What callers are told: what to do, and nothing that helps to guess."""

from tidegate.plugin import Refuse


def unauthenticated(rule: str, message: str) -> Refuse:
    """Return a 401; `rule` is for the record, and may say more than the message."""
    return Refuse(status=401, error_type="authentication_error", message=message, rule=rule)
