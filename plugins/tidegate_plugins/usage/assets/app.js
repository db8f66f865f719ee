"use strict";
// The page: asks for one document every few seconds, and shows it. Text of others is only ever
// set as text, never as markup.

const RANGES = ["15m", "1h", "6h", "24h", "7d", "30d", "1y"];
const REFRESH_MS = { "15m": 3000, "1h": 5000 };
const REFRESH_OTHERWISE_MS = 15000;
const STALE_MS = 30000;
const ERRORS = ["upstream_error", "upstream_error_event", "upstream_cut", "upstream_timeout", "unreachable", "worker_lost", "failed"];

const $ = (id) => document.getElementById(id);
let range = RANGES.includes(location.hash.slice(1)) ? location.hash.slice(1) : "1h";
let timer = 0;
let last = null;
let lastAt = 0;

// numbers

const plain = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const count = (n) => plain.format(n);
const compact = (n) => (Math.abs(n) < 10000 ? plain.format(Math.round(n * 100) / 100) : short.format(n));
const percent = (share) => (share === null ? "–" : `${(share * 100).toFixed(1)} %`);

function usd(nano) {
  const dollars = nano / 1e9;
  if (dollars === 0) return "$0";
  if (dollars < 0.01) return `$${dollars.toPrecision(2)}`;
  return dollars < 10000 ? `$${dollars.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 })}` : `$${short.format(dollars)}`;
}

function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 1000) return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
  if (ms < 120000) return `${(ms / 1000).toFixed(ms < 10000 ? 1 : 0)} s`;
  return `${(ms / 60000).toFixed(0)} min`;
}

function since(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.round(seconds))} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  return new Date((last.now - seconds) * 1000).toLocaleString();
}

// totals

function element(name, text, className) {
  const node = document.createElement(name);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
}

function totals(found) {
  const sums = found.totals;
  const prompt = sums.input + sums.cache_read + sums.cache_write_5m + sums.cache_write_1h;
  const tiles = [
    ["Cost", usd(sums.nano_usd), sums.unpriced ? `${count(sums.unpriced)} at the default price` : `${usd(sums.requests ? sums.nano_usd / sums.requests : 0)} a request`],
    ["Requests", count(sums.requests), `${count(sums.refused)} refused, ${count(sums.errors)} errors`],
    ["Tokens", compact(prompt + sums.output), `${compact(prompt)} in, ${compact(sums.output)} out`],
    ["Cache hits", percent(sums.cache_hits), `${compact(sums.cache_read)} tokens read`],
    ["First token", duration(sums.first_token_p50), `95 % within ${duration(sums.first_token_p95)}`],
    ["Whole answer", duration(sums.total_p50), `95 % within ${duration(sums.total_p95)}`],
    ["Gateway's own time", duration(sums.overhead_p50), `99 % within ${duration(sums.overhead_p99)}`],
    ["Secrets found", count(sums.redactions), "in request bodies"],
  ];
  $("totals").replaceChildren(
    ...tiles.map(([name, value, more]) => {
      const tile = element("div", undefined, "tile");
      tile.append(element("dt", name), element("dd", value, "value"), element("dd", more, "more"));
      return tile;
    }),
  );
}

// charts

const CHARTS = [
  ["tokens", "Tokens"],
  ["cost", "Cost"],
  ["outcomes", "Requests by outcome"],
  ["latency", "Latency"],
  ["overhead", "Gateway's own time"],
  ["refusals", "Refusals by rule"],
  ["redactions", "Secrets found, by rule"],
  ["stops", "Why answers ended"],
];
const figures = new Map();

function sum(values) {
  return values.reduce((a, b) => a + (b || 0), 0);
}

function lines(named, colours) {
  return Object.entries(named).map(([label, values], i) => ({ label, values, last: sum(values), colour: colours ? colours[label] || "c5" : label === "other" ? "c5" : `c${i % 6}` }));
}

function share(label, values, colour, whole, dash) {
  return { label, values, last: whole, colour, dash };
}

function step(seconds) {
  if (seconds < 3600) return seconds === 60 ? "minute" : `${seconds / 60} minutes`;
  if (seconds < 86400) return seconds === 3600 ? "hour" : `${seconds / 3600} hours`;
  return seconds === 86400 ? "day" : `${seconds / 86400} days`;
}

function charts(found) {
  const per = `per ${step(found.width_s)}`;
  const { latency, totals } = found;
  const told = (parts, format) => parts.map((line) => `${line.label} ${format(line.last)}`).join(", ") || "none";
  const stack = (parts, format, unit, nothing) => ({ lines: parts, format, unit, nothing, stack: true, summary: `in all ${told(parts, format)}` });
  const spread = (parts, nothing) => ({ lines: parts, format: duration, unit: per, nothing, log: true, summary: `over the range ${told(parts, duration)}` });
  const named = { input: found.tokens.input, "cache read": found.tokens.cache_read, "cache write": found.tokens.cache_write, output: found.tokens.output };
  const ends = { complete: found.requests.complete, refused: found.requests.refused, errors: found.requests.errors, "broken off": found.requests.broken_off };
  const shown = {
    tokens: stack(lines(named), compact, per),
    cost: stack([{ label: "cost", values: found.nano_usd, last: sum(found.nano_usd), colour: "c4" }], usd, `USD ${per}`, "nothing that costs in this range"),
    outcomes: stack(lines(ends, { complete: "good", refused: "warn", errors: "bad", "broken off": "quiet" }), compact, per),
    latency: spread([
      share("first token, median", latency.first_token.p50, "c0", totals.first_token_p50),
      share("95 %", latency.first_token.p95, "c0", totals.first_token_p95, [4, 4]),
      share("whole answer, median", latency.total.p50, "c1", totals.total_p50),
      share("95 %", latency.total.p95, "c1", totals.total_p95, [4, 4]),
    ], "no answers in this range"),
    overhead: spread([
      share("median", latency.overhead.p50, "c0", totals.overhead_p50),
      share("95 %", latency.overhead.p95, "c2", totals.overhead_p95),
      share("99 %", latency.overhead.p99, "c3", totals.overhead_p99),
    ], "no requests in this range"),
    refusals: stack(lines(found.refusals), compact, per, "nothing was refused in this range"),
    redactions: stack(lines(found.redactions), compact, per, "no secrets were found in this range"),
    stops: stack(lines(found.stops), compact, per, "no answers in this range"),
  };
  if (!figures.size) {
    for (const [id, title] of CHARTS) figures.set(id, Charts.figure(id, title));
    $("charts").append(...[...figures.values()].map((figure) => figure.node));
  }
  for (const [id, figure] of figures) {
    if (!figure.busy()) figure.draw({ t: found.t, width_s: found.width_s, ...shown[id] });
  }
}

// tables

function table(id, title, columns, rows) {
  const node = $(id);
  const head = element("tr");
  head.append(...columns.map((column) => {
    const cell = element("th", column.head, column.className);
    cell.scope = "col";
    return cell;
  }));
  const body = rows.map((row) => {
    const line = element("tr");
    line.append(...columns.map((column, i) => {
      const cell = element(i === 0 && column.row ? "th" : "td", undefined, column.className);
      if (i === 0 && column.row) cell.scope = "row";
      const value = column.cell(row);
      cell.append(value);
      if (typeof value === "string" && column.className?.includes("text")) cell.title = value;
      return cell;
    }));
    return line;
  });
  const thead = element("thead");
  thead.append(head);
  const tbody = element("tbody");
  tbody.append(...body);
  node.replaceChildren(element("caption", title), thead, tbody);
  const box = node.closest(".table");
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", title);
  if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  else box.removeAttribute("tabindex");
}

function bar(text, part, whole) {
  const cell = document.createDocumentFragment();
  const meter = element("meter", undefined, "bar optional");
  meter.max = whole || 1;
  meter.value = part;
  meter.setAttribute("aria-hidden", "true");
  cell.append(text, meter);
  return cell;
}

function tops(id, title, key, found, more) {
  const rows = found[`${key}s`];
  const dearest = Math.max(0, ...rows.map((row) => row.nano_usd));
  const input = (row) => row.input + row.cache_read + row.cache_write_5m + row.cache_write_1h;
  table(id, title, [
    { head: key, className: "text", row: true, cell: (row) => row[key] },
    { head: "cost", cell: (row) => bar(usd(row.nano_usd), row.nano_usd, dearest) },
    { head: "requests", cell: (row) => count(row.requests) },
    { head: "refused", className: "optional", cell: (row) => count(row.refused) },
    { head: "errors", className: "optional", cell: (row) => count(row.errors) },
    { head: "tokens in", cell: (row) => compact(input(row)) },
    { head: "out", cell: (row) => compact(row.output) },
    { head: "cache hits", className: "optional", cell: (row) => percent(row.cache_hits) },
    ...more,
  ], rows);
}

function end(outcome) {
  if (outcome === "complete" || outcome === "refused") return outcome;
  return ERRORS.includes(outcome) ? "errors" : "broken_off";
}

function latest(found) {
  table("latest", "Latest exchanges", [
    { head: "over", className: "text", cell: (row) => {
      const node = element("time", since(found.now - row.at));
      node.dateTime = new Date(row.at * 1000).toISOString();
      return node;
    } },
    { head: "team", className: "text", cell: (row) => row.team },
    { head: "who", className: "text optional", cell: (row) => row.principal },
    { head: "model", className: "text", cell: (row) => row.model },
    { head: "outcome", className: "text", cell: (row) => element("span", row.outcome.replaceAll("_", " "), `badge ${end(row.outcome)}`) },
    { head: "because", className: "text", cell: (row) => row.reason },
    { head: "in", cell: (row) => count(row.prompt) },
    { head: "out", cell: (row) => (row.partial ? `≥ ${count(row.output)}` : count(row.output)) },
    { head: "cost", cell: (row) => usd(row.nano_usd) },
    { head: "first token", className: "optional", cell: (row) => duration(row.first_token_ms) },
    { head: "total", cell: (row) => duration(row.total_ms) },
    { head: "secrets", className: "optional", cell: (row) => (row.redactions ? count(row.redactions) : "–") },
    { head: "id", className: "text optional", cell: (row) => row.id },
  ], found.latest);
}

// the page

function show(found) {
  last = found;
  const some = found.began !== null;
  $("empty").hidden = some;
  $("content").hidden = !some;
  if (!some) return;
  totals(found);
  charts(found);
  tops("teams", "Top teams", "team", found, []);
  tops("models", "Top models", "model", found, [{ head: "first token", cell: (row) => duration(row.first_token_p50) }]);
  latest(found);
}

function say(text, stale) {
  $("status").textContent = text;
  $("status").classList.toggle("stale", Boolean(stale));
}

async function refresh() {
  clearTimeout(timer);
  const asked = range;
  try {
    const answer = await fetch(`/usage/data.json?range=${asked}`, { signal: AbortSignal.timeout(10000) });
    if (!answer.ok) throw new Error(`${answer.status}`);
    const found = await answer.json();
    if (asked !== range) return;
    lastAt = Date.now();
    show(found);
    say(`as of ${new Date(found.now * 1000).toLocaleTimeString()}`);
  } catch (error) {
    const old = Date.now() - lastAt > STALE_MS;
    say(lastAt && !old ? "waiting for the gateway …" : "the gateway does not answer", old);
  }
  if ($("live").checked && asked === range) timer = setTimeout(refresh, REFRESH_MS[range] || REFRESH_OTHERWISE_MS);
}

function choose(name) {
  range = name;
  history.replaceState(null, "", `#${name}`);
  refresh();
}

for (const name of RANGES) {
  const label = element("label");
  const input = element("input");
  input.type = "radio";
  input.name = "range";
  input.value = name;
  input.checked = name === range;
  input.addEventListener("change", () => choose(name));
  label.append(input, element("span", name));
  $("ranges").append(label);
}
$("controls").addEventListener("submit", (event) => event.preventDefault());
$("live").addEventListener("change", refresh);
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : refresh()));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => last && show(last));
let resized = 0;
addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(() => last && show(last), 150);
});
refresh();
