// A program that uses the official TypeScript SDK, of the version in the folder it is given.
//
// It takes the same plan as sdk_driver.py on its standard input, and prints outcomes of the
// same form, all under `async`.

import { createRequire } from "node:module";
import { join } from "node:path";
import process from "node:process";

const AT_A_TIME = 8;
const LEAVE_AFTER = 3; // events
const ANSWER_HEADERS = ["retry-after", "x-should-retry", "content-type", "x-tidegate-origin"];

const load = createRequire(join(process.argv[2], "package.json"));
const { Anthropic } = load("@anthropic-ai/sdk");
const { VERSION } = load("@anthropic-ai/sdk/version");

function described(error) {
  const bases = [];
  for (let each = Object.getPrototypeOf(error.constructor); each?.name; each = Object.getPrototypeOf(each)) {
    bases.push(each.name);
  }
  const found = { class: error.constructor.name, bases, message: error.message };
  if (error instanceof Anthropic.APIError) {
    found.status = error.status ?? null;
    found.type = error.type ?? null;
    found.body = error.error ?? null;
    found.request_id = Boolean(error.requestID);
    found.headers = Object.fromEntries(
      ANSWER_HEADERS.map((name) => [name, error.headers?.get?.(name)]).filter(([, value]) => value),
    );
  }
  return found;
}

function options(scenario) {
  const headers = { "x-scenario": `async/${scenario.name}`, ...scenario.headers };
  if (scenario.simulate) headers["x-simulate"] = scenario.simulate;
  const found = { headers, maxRetries: scenario.retries };
  if (scenario.timeout !== null) found.timeout = scenario.timeout * 1000;
  return found;
}

function toolTurn(params, message) {
  const results = message.content
    .filter((block) => block.type === "tool_use")
    .map((block) => ({ type: "tool_result", tool_use_id: block.id, content: "the tide is high" }));
  const turns = [
    { role: "assistant", content: message.content },
    { role: "user", content: results },
  ];
  return { ...params, messages: [...params.messages, ...turns] };
}

async function streamed(stream, seen) {
  // the message that an event holds goes on growing
  for await (const { message, ...event } of stream) seen.push(event);
  return { events: seen, message: await stream.finalMessage() };
}

const calls = {
  create: (client, params, extra) => client.messages.create(params, extra),
  beta: (client, params, extra) => client.beta.messages.create(params, extra),
  async twice(client, params, extra) {
    return [await client.messages.create(params, extra), await client.messages.create(params, extra)];
  },
  async tools(client, params, extra) {
    const first = await client.messages.create(params, extra);
    return [first, await client.messages.create(toolTurn(params, first), extra)];
  },
  async events(client, params, extra, seen) {
    const stream = await client.messages.create({ ...params, stream: true }, extra);
    for await (const event of stream) seen.push(event);
    return seen;
  },
  stream: (client, params, extra, seen) => streamed(client.messages.stream(params, extra), seen),
  beta_stream: (client, params, extra, seen) => streamed(client.beta.messages.stream(params, extra), seen),
  async text(client, params, extra, seen) {
    const stream = client.messages.stream(params, extra).on("text", (text) => seen.push(text));
    return { text: seen, usage: (await stream.finalMessage()).usage };
  },
  async leave(client, params, extra, seen) {
    const stream = await client.messages.create({ ...params, stream: true }, extra);
    for await (const event of stream) {
      seen.push(event.type);
      if (seen.length === LEAVE_AFTER) break;
    }
    return seen;
  },
  count: (client, params, extra) => client.messages.countTokens(params, extra),
  async models(client, params, extra) {
    const found = [];
    for await (const model of client.models.list(params, extra)) found.push(model);
    return found;
  },
  model: (client, params, extra) => client.models.retrieve(params.model_id, {}, extra),
  batches: (client, params, extra) => client.messages.batches.list(params, extra),
};

async function run(client, scenario) {
  const seen = [];
  try {
    return { result: await calls[scenario.call](client, scenario.params, options(scenario), seen) };
  } catch (error) {
    return { error: described(error), seen };
  }
}

async function readPlan() {
  const parts = [];
  for await (const part of process.stdin) parts.push(part);
  return JSON.parse(Buffer.concat(parts).toString());
}

const plan = await readPlan();
const client = new Anthropic({ baseURL: plan.base_url, apiKey: plan.api_key });
const outcomes = {};
const waiting = [...plan.scenarios];
async function work() {
  for (let scenario = waiting.shift(); scenario; scenario = waiting.shift()) {
    outcomes[scenario.name] = await run(client, scenario);
  }
}
await Promise.all(Array.from({ length: AT_A_TIME }, work));
process.stdout.write(JSON.stringify({ version: VERSION, async: outcomes }));
