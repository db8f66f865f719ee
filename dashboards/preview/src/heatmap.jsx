// Grafana's heat map is not in its packages: this stands in for it.

import { getValueFormat, formattedValueToString } from '@grafana/data'
import { useTheme2 } from '@grafana/ui'

const AXIS = 56
const FOOT = 20

/** The counts of single buckets, of those of `le`, smallest bound first. */
function buckets(frames) {
  const rows = frames
    .map((frame) => ({ le: Number(frame.name.replace('+Inf', 'Infinity')), values: frame.fields[1].values, times: frame.fields[0].values }))
    .sort((one, other) => one.le - other.le)
  return rows.map((row, place) => ({
    le: row.le,
    cells: row.times.map((time, at) => [time, Math.max(0, row.values[at] - (place ? rows[place - 1].values[at] : 0))]),
  }))
}

function seen(rows) {
  const any = rows.map((row) => row.cells.some(([, count]) => count > 0))
  return rows.slice(Math.max(0, any.indexOf(true) - 1), any.lastIndexOf(true) + 2)
}

export function Heatmap({ frames, width, height, range, unit, exemplars }) {
  const theme = useTheme2()
  const rows = seen(buckets(frames))
  const most = Math.max(...rows.flatMap((row) => row.cells.map(([, count]) => count)), 1e-9)
  const from = range.from.valueOf()
  const across = (time) => AXIS + ((time - from) / (range.to.valueOf() - from)) * (width - AXIS)
  const tall = (height - FOOT) / Math.max(rows.length, 1)
  const step = frames[0]?.fields[0].config.interval ?? 1
  const wide = across(from + step) - across(from)
  const format = getValueFormat(unit)
  const up = (value) => {
    const place = rows.findIndex((row) => value <= row.le)
    return height - FOOT - (place < 0 ? rows.length - 0.5 : place + 0.5) * tall
  }
  return (
    <svg width={width} height={height} fontSize={11} fill={theme.colors.text.secondary}>
      {rows.map((row, place) => (
        <g key={row.le}>
          <text x={AXIS - 6} y={height - FOOT - (place + 0.5) * tall + 4} textAnchor="end">
            {row.le === Infinity ? 'Inf' : formattedValueToString(format(row.le))}
          </text>
          {row.cells.map(([time, count]) => (
            <rect
              key={time} x={across(time) - wide} y={height - FOOT - (place + 1) * tall}
              width={Math.max(wide - 0.5, 0.5)} height={tall - 1}
              fill={`hsl(${40 - 20 * (count / most)} 90% ${15 + 45 * (count / most)}%)`} opacity={count ? 1 : 0}
            />
          ))}
        </g>
      ))}
      {exemplars.map(({ timestamp, value }, place) => (
        <rect
          key={place} width={5} height={5} fill={theme.visualization.getColorByName('blue')}
          transform={`translate(${across(timestamp * 1000)} ${up(Number(value)) - 3}) rotate(45)`}
        />
      ))}
      <text x={AXIS} y={height - 4}>{range.from.utc().format('HH:mm')}</text>
      <text x={width} y={height - 4} textAnchor="end">{range.to.utc().format('HH:mm')}</text>
    </svg>
  )
}
