"""Examples of rules: templates without anything secret in them, and what they become."""

import random
import re
import string
from dataclasses import dataclass

ALPHABETS = {
    "xs": "x",
    "digits": string.digits,
    "hex": "0123456789abcdef",
    "HEX": "0123456789ABCDEF",
    "lower": string.ascii_lowercase,
    "upper": string.ascii_uppercase,
    "alpha": string.ascii_letters,
    "alnum": string.ascii_letters + string.digits,
    "base32": string.ascii_uppercase + "234567",
    "caps": string.ascii_uppercase + string.digits,
    "b64": string.ascii_letters + string.digits + "+/",
    "b64url": string.ascii_letters + string.digits + "-_",
}
_FIELD = re.compile(r"\{(\w+)(?::(\d+))?\}")


@dataclass(frozen=True, slots=True)
class Example:
    """A text, and the one secret that must be found in it (empty: none must)."""

    text: str
    secret: str = ""


def expand(template: str, seed: str) -> Example:
    """Return the example that a template stands for; the same seed gives the same one."""
    chance = random.Random(seed)  # noqa: S311 - examples are no secrets
    text = _FIELD.sub(lambda field: _field(field, chance), template)
    before, mark, rest = text.partition("«")
    secret, _, after = rest.partition("»")
    return Example(before + secret + after, secret) if mark else Example(text)


def _field(field: re.Match[str], chance: random.Random) -> str:
    kind, count = field[1], int(field[2] or 0)
    if kind in ALPHABETS:
        return "".join(chance.choice(ALPHABETS[kind]) for _ in range(count))
    if kind in _SPECIAL:
        return _SPECIAL[kind](chance)
    return field[0]


def _card(chance: random.Random) -> str:
    digits = [4] + [chance.randrange(10) for _ in range(14)]
    doubled = [d if i % 2 else d * 2 - 9 * (d > 4) for i, d in enumerate(digits)]
    return "".join(map(str, digits)) + str(-sum(doubled) % 10)


def _iban(chance: random.Random) -> str:
    account = "".join(chance.choice(string.digits) for _ in range(18))
    check = 98 - int(f"{account}131400") % 97  # D = 13, E = 14
    return f"DE{check:02}{account}"


_SPECIAL = {"dashes": lambda _: "-" * 5, "card": _card, "iban": _iban}
