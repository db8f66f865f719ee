// Runs the queries of a panel, and makes of the answers what Grafana's Prometheus data source makes.

import { FieldType, rangeUtil, toDataFrame } from '@grafana/data'

async function ask(path, parameters) {
  const answer = await fetch(`prom/api/v1/${path}?${new URLSearchParams(parameters)}`)
  const body = await answer.json()
  if (body.status !== 'success') throw new Error(body.error)
  return body.data.result ?? body.data
}

/** The variables' values in an expression, as Grafana would put them there. */
export function filled(expr, range, scene, interval_s) {
  const scrape_s = scene.scrape_s
  const rate_s = Math.max(interval_s + scrape_s, 4 * scrape_s)
  const range_s = Math.round((range.to - range.from) / 1000)
  const values = {
    ...scene.variables,
    __rate_interval: `${rate_s}s`,
    __range: `${range_s}s`,
    __interval: `${interval_s}s`,
  }
  return expr.replace(/\$\{?(\w+)\}?/g, (whole, name) => values[name] ?? whole)
}

export function interval(range, width, scene) {
  const points = Math.max(1, Math.round(width))
  return Math.round(rangeUtil.calculateInterval(range, points, `${scene.scrape_s}s`).intervalMs / 1000)
}

export async function run(panel, range, width, scene) {
  const step_s = interval(range, width, scene)
  const targets = panel.targets ?? []
  return Promise.all(
    targets.map(async (target) => {
      const query = filled(target.expr, range, scene, step_s)
      const end = range.to.valueOf() / 1000
      if (target.instant) return { target, step_s, series: await ask('query', { query, time: end }) }
      const start = Math.floor(range.from.valueOf() / 1000 / step_s) * step_s
      return { target, step_s, series: await ask('query_range', { query, start, end, step: step_s }) }
    })
  )
}

export async function exemplars(panel, range, width, scene) {
  const asked = (panel.targets ?? []).filter((target) => target.exemplar)
  const found = await Promise.all(
    asked.map((target) =>
      ask('query_exemplars', {
        query: filled(target.expr, range, scene, interval(range, width, scene)),
        start: range.from.valueOf() / 1000,
        end: range.to.valueOf() / 1000,
      })
    )
  )
  const step_s = 4 * interval(range, width, scene)
  return spread(found.flat().flatMap((series) => series.exemplars), step_s)
}

/** The highest of each stretch of time: a few of many, as Grafana shows them. */
function spread(points, step_s) {
  const highest = new Map()
  for (const point of points) {
    const place = Math.floor(point.timestamp / step_s)
    const best = highest.get(place)
    if (!best || Number(point.value) > Number(best.value)) highest.set(place, point)
  }
  return [...highest.values()]
}

function legend(target, labels) {
  if (!target.legendFormat) {
    const inner = Object.entries(labels).map(([name, value]) => `${name}="${value}"`)
    return `{${inner.join(', ')}}`
  }
  return target.legendFormat.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, name) => labels[name] ?? '')
}

const number = (text) => (text === 'NaN' ? null : Number(text.replace('Inf', 'Infinity')))

/** One frame for each series. */
export function frames(answers) {
  return answers.flatMap(({ target, series, step_s }) =>
    series.map((one) => {
      const points = one.values ?? [one.value]
      const config = { displayNameFromDS: legend(target, one.metric) }
      return toDataFrame({
        refId: target.refId,
        name: config.displayNameFromDS,
        fields: [
          { name: 'Time', type: FieldType.time, values: points.map((p) => p[0] * 1000), config: { interval: step_s * 1000 } },
          { name: 'Value', type: FieldType.number, values: points.map((p) => number(p[1])), labels: one.metric, config },
        ],
      })
    })
  )
}

/** One frame for each query, with a column for each label. */
export function tables(answers) {
  return answers.map(({ target, series }) => {
    const names = [...new Set(series.flatMap((one) => Object.keys(one.metric)))].sort()
    const value = answers.length > 1 ? `Value #${target.refId}` : 'Value'
    return toDataFrame({
      refId: target.refId,
      fields: series.length
        ? [
            { name: 'Time', type: FieldType.time, values: series.map((one) => one.value[0] * 1000) },
            ...names.map((name) => ({
              name,
              type: FieldType.string,
              config: { filterable: true },
              values: series.map((one) => one.metric[name] ?? null),
            })),
            { name: value, type: FieldType.number, values: series.map((one) => number(one.value[1])) },
          ]
        : [],
    })
  })
}
