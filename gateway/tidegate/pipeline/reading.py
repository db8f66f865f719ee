"""A chat that its upstream converts: policies are asked about the request that it amounts to.

Those that transform see the chat's own bytes, as these are what leaves.
"""

from typing import Any

from msgspec import structs

from tidegate.exchange import Exchange, Request
from tidegate.openai.client import governed
from tidegate.openai.encoding import encoded
from tidegate.openai.passing import limited, put
from tidegate.openai.request import to_messages
from tidegate.pipeline.host import Link, ask
from tidegate.pipeline.weighing import Admission, apply_edits, bad_edit, edit_record, record, weigh
from tidegate.plugin import Stage
from tidegate.wire.body import Body, BodyError, Edit
from tidegate.wire.messages import view
from tidegate.wire.routes import Kind


class Reading:
    """The chat of one exchange, and the request to Messages that policies are shown."""

    def __init__(self, exchange: Exchange, whole: Admission) -> None:
        """Read it.

        Raises:
            BodyError: it cannot be read as a request to Messages.
        """
        self._chat = exchange
        self._exchange = structs.replace(exchange, route=governed(exchange.route))
        self._whole = whole
        self._document = to_messages(whole.request.body.document, lenient=True)

    async def ask(self, link: Link) -> None:
        """Put the chat to one policy, and let its verdict take effect on the chat."""
        whole = self._whole
        transforms = link.stage is Stage.TRANSFORM
        chat = whole.request
        if not transforms:
            whole.request = self._shown(chat)
        verdict = await ask(link, self._exchange, whole.request)
        record(link, verdict, whole)
        before = len(whole.edits)
        refusal = weigh(link, verdict, self._chat if transforms else self._exchange, whole)
        if not transforms and refusal is None:
            try:
                self._carry_over(link, chat, before)
            except (BodyError, ValueError, KeyError):
                whole.request, refusal = chat, bad_edit(link)
        if refusal is not None:
            whole.refuse(refusal, link.name)

    def _shown(self, chat: Request) -> Request:
        """Return the request as a policy sees it."""
        raw = encoded(self._document)
        return structs.replace(
            chat, body=Body(raw, self._document), view=view(self._document, Kind.MESSAGES)
        )

    def _carry_over(self, link: Link, chat: Request, before: int) -> None:
        """Do to the chat what was done to the request that it amounts to.

        Raises:
            BodyError, ValueError, KeyError: that cannot be done.
        """
        whole = self._whole
        wanted = whole.request.body.document
        chat = structs.replace(chat, principal=whole.request.principal)
        changed = {key: value for key, value in wanted.items() if self._document.get(key) != value}
        made = whole.edits[before:]
        del whole.edits[before:]
        for key, value in changed.items():
            rule = next((edit.rule for edit in made if edit.pointer == f"/{key}"), "")
            edits = _edits(chat.body, key, value, rule)
            whole.edits += [edit_record(link.name, edit) for edit in edits]
            body = apply_edits(chat.body, edits)
            chat = structs.replace(chat, body=body, view=view(body.document, Kind.CHAT))
        whole.request = chat
        if made:
            self._document = to_messages(chat.body.document, lenient=True)
            if self._document != wanted:
                raise ValueError("the edited chat does not amount to the edited request")


def _edits(body: Body, key: str, value: Any, rule: str) -> tuple[Edit, ...]:
    match key:
        case "model":
            return put(body, "model", value, rule)
        case "max_tokens":
            return limited(body, value, rule)
        case _:
            raise ValueError("only model and max_tokens can be changed in a chat")
