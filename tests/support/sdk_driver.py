"""A program that uses the official Python SDK, of whichever version runs it.

It knows nothing of tidegate. On its standard input it gets a plan in JSON: `base_url`,
`api_key` and `scenarios`. It goes through them with the synchronous and with the
asynchronous client, and prints what the program would have seen: messages, events, or the
exception. See `scenarios.py` for what can be asked.
"""

import asyncio
import inspect
import json
import sys
from concurrent.futures import ThreadPoolExecutor

import anthropic

AT_A_TIME = 8
LEAVE_AFTER = 3  # events
MARK = "x-scenario"
ANSWER_HEADERS = ("retry-after", "x-should-retry", "content-type", "x-tidegate-origin")


def described(error):
    """Return an exception as JSON: what a program can tell it by."""
    found = {
        "class": type(error).__name__,
        "from": type(error).__module__.partition(".")[0],
        "bases": [each.__name__ for each in type(error).__mro__[1:-2]],
    }
    cause = error.__cause__
    if isinstance(error, anthropic.APIConnectionError) and cause is not None:
        found["cause"] = type(cause).__name__
    if isinstance(error, anthropic.APIStatusError):
        headers = error.response.headers
        found["status"] = error.status_code
        found["type"] = getattr(error, "type", None)
        found["message"] = error.message
        found["body"] = error.body
        found["request_id"] = bool(error.request_id)
        found["headers"] = {name: headers[name] for name in ANSWER_HEADERS if name in headers}
    elif isinstance(error, anthropic.APIError):
        found["message"] = error.message
        found["body"] = getattr(error, "body", None)
    return found


def options(scenario, mode):
    """Return the arguments of a call that are not about its content."""
    headers = {MARK: f"{mode}/{scenario['name']}", **scenario["headers"]}
    if scenario["simulate"]:
        headers["x-simulate"] = scenario["simulate"]
    return {"extra_headers": headers}


def prepared(client, scenario):
    changed = {"max_retries": scenario["retries"]}
    if scenario["timeout"] is not None:
        changed["timeout"] = scenario["timeout"]
    return client.with_options(**changed)


def tool_turn(params, message):
    """Return the parameters of the turn that hands in the results of a message's tools."""
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": "the tide is high"}
        for block in message.content
        if block.type == "tool_use"
    ]
    said = [block.to_dict() for block in message.content]
    turns = [{"role": "assistant", "content": said}, {"role": "user", "content": results}]
    return {**params, "messages": [*params["messages"], *turns]}


def event_of(event):
    """Return an event as the helper gives it, without the message it repeats."""
    data = event.to_dict()
    return {key: value for key, value in data.items() if key not in ("snapshot", "message")}


def kept(headers):
    """Return the headers of an answer that are the same each time."""
    own = ("request-id", "date", "cf-ray", "x-tidegate-id", "connection")
    return [[k, v] for k, v in headers.multi_items() if k not in own and "ratelimit" not in k]


class Sync:
    """Calls the synchronous client."""

    def __init__(self, client):
        self.client = client

    def run(self, scenario):
        client = prepared(self.client, scenario)
        call = getattr(self, scenario["call"])
        seen = []
        try:
            return {"result": call(client, scenario["params"], options(scenario, "sync"), seen)}
        except Exception as error:
            return {"error": described(error), "seen": seen}

    def create(self, client, params, extra, seen):
        return client.messages.create(**params, **extra).to_dict()

    def beta(self, client, params, extra, seen):
        return client.beta.messages.create(**params, **extra).to_dict()

    def raw(self, client, params, extra, seen):
        answer = client.messages.with_raw_response.create(**params, **extra)
        return {"headers": kept(answer.headers), "message": answer.parse().to_dict()}

    def twice(self, client, params, extra, seen):
        return [client.messages.create(**params, **extra).to_dict() for _ in range(2)]

    def tools(self, client, params, extra, seen):
        first = client.messages.create(**params, **extra)
        last = client.messages.create(**tool_turn(params, first), **extra)
        return [first.to_dict(), last.to_dict()]

    def events(self, client, params, extra, seen):
        for event in client.messages.create(**params, **extra, stream=True):
            seen.append(event.to_dict())
        return seen

    def stream(self, client, params, extra, seen):
        with client.messages.stream(**params, **extra) as stream:
            for event in stream:
                seen.append(event_of(event))
            return {"events": seen, "message": stream.get_final_message().to_dict()}

    def beta_stream(self, client, params, extra, seen):
        with client.beta.messages.stream(**params, **extra) as stream:
            for event in stream:
                seen.append(event_of(event))
            return {"events": seen, "message": stream.get_final_message().to_dict()}

    def text(self, client, params, extra, seen):
        with client.messages.stream(**params, **extra) as stream:
            seen.extend(stream.text_stream)
            return {"text": seen, "usage": stream.get_final_message().usage.to_dict()}

    def leave(self, client, params, extra, seen):
        with client.messages.stream(**params, **extra) as stream:
            for event in stream:
                seen.append(event.type)
                if len(seen) == LEAVE_AFTER:
                    break
        return seen

    def count(self, client, params, extra, seen):
        return client.messages.count_tokens(**params, **extra).to_dict()

    def models(self, client, params, extra, seen):
        return [model.to_dict() for model in client.models.list(**params, **extra)]

    def model(self, client, params, extra, seen):
        return client.models.retrieve(**params, **extra).to_dict()

    def batches(self, client, params, extra, seen):
        return client.messages.batches.list(**params, **extra).to_dict()


class Async:
    """Calls the asynchronous client."""

    def __init__(self, client):
        self.client = client

    async def run(self, scenario):
        client = prepared(self.client, scenario)
        call = getattr(self, scenario["call"])
        seen = []
        try:
            found = await call(client, scenario["params"], options(scenario, "async"), seen)
        except Exception as error:
            return {"error": described(error), "seen": seen}
        return {"result": found}

    async def create(self, client, params, extra, seen):
        return (await client.messages.create(**params, **extra)).to_dict()

    async def beta(self, client, params, extra, seen):
        return (await client.beta.messages.create(**params, **extra)).to_dict()

    async def raw(self, client, params, extra, seen):
        answer = await client.messages.with_raw_response.create(**params, **extra)
        message = answer.parse()
        if inspect.isawaitable(message):
            message = await message
        return {"headers": kept(answer.headers), "message": message.to_dict()}

    async def twice(self, client, params, extra, seen):
        return [(await client.messages.create(**params, **extra)).to_dict() for _ in range(2)]

    async def tools(self, client, params, extra, seen):
        first = await client.messages.create(**params, **extra)
        last = await client.messages.create(**tool_turn(params, first), **extra)
        return [first.to_dict(), last.to_dict()]

    async def events(self, client, params, extra, seen):
        async for event in await client.messages.create(**params, **extra, stream=True):
            seen.append(event.to_dict())
        return seen

    async def stream(self, client, params, extra, seen):
        async with client.messages.stream(**params, **extra) as stream:
            async for event in stream:
                seen.append(event_of(event))
            return {"events": seen, "message": (await stream.get_final_message()).to_dict()}

    async def beta_stream(self, client, params, extra, seen):
        async with client.beta.messages.stream(**params, **extra) as stream:
            async for event in stream:
                seen.append(event_of(event))
            return {"events": seen, "message": (await stream.get_final_message()).to_dict()}

    async def text(self, client, params, extra, seen):
        async with client.messages.stream(**params, **extra) as stream:
            async for text in stream.text_stream:
                seen.append(text)
            return {"text": seen, "usage": (await stream.get_final_message()).usage.to_dict()}

    async def leave(self, client, params, extra, seen):
        async with client.messages.stream(**params, **extra) as stream:
            async for event in stream:
                seen.append(event.type)
                if len(seen) == LEAVE_AFTER:
                    break
        return seen

    async def count(self, client, params, extra, seen):
        return (await client.messages.count_tokens(**params, **extra)).to_dict()

    async def models(self, client, params, extra, seen):
        return [model.to_dict() async for model in client.models.list(**params, **extra)]

    async def model(self, client, params, extra, seen):
        return (await client.models.retrieve(**params, **extra)).to_dict()

    async def batches(self, client, params, extra, seen):
        return (await client.messages.batches.list(**params, **extra)).to_dict()


def run_sync(plan, scenarios):
    client = anthropic.Anthropic(base_url=plan["base_url"], api_key=plan["api_key"])
    with client, ThreadPoolExecutor(AT_A_TIME) as threads:
        return list(threads.map(Sync(client).run, scenarios))


async def run_async(plan, scenarios):
    places = asyncio.Semaphore(AT_A_TIME)
    client = anthropic.AsyncAnthropic(base_url=plan["base_url"], api_key=plan["api_key"])
    program = Async(client)

    async def one(scenario):
        async with places:
            return await program.run(scenario)

    async with client:
        return await asyncio.gather(*map(one, scenarios))


def main():
    plan = json.load(sys.stdin)
    scenarios = plan["scenarios"]
    names = [each["name"] for each in scenarios]
    outcomes = {"version": anthropic.__version__}
    outcomes["sync"] = dict(zip(names, run_sync(plan, scenarios), strict=True))
    found = asyncio.run(run_async(plan, scenarios))
    outcomes["async"] = dict(zip(names, found, strict=True))
    json.dump(outcomes, sys.stdout, default=str)


if __name__ == "__main__":
    main()
