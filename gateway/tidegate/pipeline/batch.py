"""A batch: each request in it is put to the policies as if it had come alone (sheet, 1.6)."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from msgspec import structs

from tidegate.exchange import Exchange, Request
from tidegate.pipeline.host import Link, ask
from tidegate.pipeline.weighing import Admission, record, weigh
from tidegate.plugin import Answer, Refuse
from tidegate.record import DecisionRecord
from tidegate.wire.body import Body, Edit, parse, splice
from tidegate.wire.messages import view
from tidegate.wire.routes import Kind, Route
from tidegate.wire.spans import Value, locate, members

ITEMS_AT_ONCE = 64
"""After so many the event loop gets its turn: a batch may hold 100,000."""


@dataclass(slots=True)
class Item:
    """One request of the batch: where it stands, and what its admission has come to."""

    index: int
    place: Value
    admission: Admission

    @property
    def pointer(self) -> str:
        """Of the item's `params` in the body of the batch."""
        return f"/requests/{self.index}/params"


class Batch:
    """The requests of one batch. What is decided about them is added to the batch's admission."""

    def __init__(self, exchange: Exchange, whole: Admission) -> None:
        route = exchange.route
        single = Route(Kind.MESSAGES, route.method, route.path, route.query)
        self._exchange = structs.replace(exchange, route=single)
        self._whole = whole
        self._items = list(_items(whole))

    async def ask(self, link: Link) -> None:
        """Put every item to one policy, until it refuses one, which refuses the batch."""
        whole = self._whole
        if not whole.admitted or whole.answer is not None:
            return
        said: dict[tuple[str, str, str], DecisionRecord] = {}
        for item in self._items:
            if item.index % ITEMS_AT_ONCE == ITEMS_AT_ONCE - 1:
                await asyncio.sleep(0)
            if not await self._ask_one(link, item, said):
                whole.decisions += said.values()
                return
        whole.decisions += said.values()
        self._reassemble()

    async def _ask_one(
        self, link: Link, item: Item, said: dict[tuple[str, str, str], DecisionRecord]
    ) -> bool:
        one, whole = item.admission, self._whole
        one.request = structs.replace(one.request, principal=whole.request.principal)
        verdict = await ask(link, self._exchange, one.request)
        record(link, verdict, one)
        refusal = weigh(link, verdict, self._exchange, one)
        if isinstance(verdict.decision, Answer) and not link.shadow:
            refusal = _no_answer(link)
        if refusal is not None:
            whole.refuse(_within(item, refusal), link.name)
        self._gather(item, said)
        return refusal is None

    def _gather(self, item: Item, said: dict[tuple[str, str, str], DecisionRecord]) -> None:
        """Move what the item's admission says to that of the batch, each thing said once."""
        one, whole = item.admission, self._whole
        for found in one.decisions:
            key = found.rule, found.verdict, found.mode
            before = said.get(key)
            pointer = item.pointer + found.pointer if found.pointer else ""
            if before is None:
                said[key] = structs.replace(found, pointer=pointer)
            else:
                said[key] = structs.replace(before, us=before.us + found.us)
        whole.edits += [
            structs.replace(
                edit, pointer=item.pointer + edit.pointer, offset=item.place.start + edit.offset
            )
            for edit in one.edits
        ]
        whole.headers += [pair for pair in one.headers if pair not in whole.headers]
        one.decisions.clear()
        one.edits.clear()
        one.headers.clear()

    def _reassemble(self) -> None:
        """Put the items' bytes, where they were edited, into those of the batch.

        Raises:
            ValueError: the result does not say what the items say.
        """
        whole = self._whole
        edits = list(self._changed())
        if not edits:
            return
        body = parse(splice(whole.request.body.raw, edits))
        seen = view(body.document, Kind.BATCHES)
        expected = [item.admission.request.body.document for item in self._items]
        if [item["params"] for item in body.document["requests"]] != expected:
            raise ValueError("the edited batch does not hold the edited requests")
        whole.request = structs.replace(whole.request, body=body, view=seen)
        for item, place in zip(self._items, _places(body.raw), strict=True):
            item.place = place

    def _changed(self) -> Iterator[Edit]:
        raw = self._whole.request.body.raw
        for item in self._items:
            now = item.admission.request.body.raw
            if now != raw[item.place.start : item.place.end]:
                yield Edit(item.pointer, "item", item.place.start, item.place.end, now)


def _items(whole: Admission) -> Iterator[Item]:
    request = whole.request
    raw, documents = request.body.raw, request.body.document["requests"]
    for index, place in enumerate(_places(raw)):
        body = Body(raw[place.start : place.end], documents[index]["params"])
        one = Request(
            body=body,
            view=request.view.items[index],
            principal=request.principal,
            credential=request.credential,
        )
        # What an item takes is settled with the batch, however that ends.
        yield Item(index, place, Admission(one, holds=whole.holds))


def _places(raw: bytes) -> Iterator[Value]:
    """Where the `params` of each item stand."""
    for _, item in members(raw, locate(raw, "/requests")):
        yield next(place for key, place in members(raw, item) if key == "params")


def _within(item: Item, refusal: Refuse) -> Refuse:
    return structs.replace(
        refusal,
        message=f"requests[{item.index}]: {refusal.message}",
        pointer=item.pointer + refusal.pointer,
    )


def _no_answer(link: Link) -> Refuse:
    return Refuse(
        status=500,
        error_type="api_error",
        message=f"the gateway's policy `{link.name}` answers one request of a batch by itself",
        rule="answer",
    )
