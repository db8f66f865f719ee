// Each kind of panel of the dashboards, drawn by Grafana's component for it.

import {
  FieldType,
  VizOrientation,
  applyFieldOverrides,
  getDisplayValueAlignmentFactors,
  getFieldDisplayValues,
  transformDataFrame,
} from '@grafana/data'
import { BarGauge, BigValue, PanelChrome, Table, TimeSeries, useTheme2 } from '@grafana/ui'
import { merge } from 'lodash'
import { useEffect, useState } from 'react'
import { Heatmap } from './heatmap.jsx'
import { exemplars, frames, run, tables } from './prometheus.js'
import { DEFAULTS, fieldConfigRegistry } from './registry.js'

const CHROME = { width: 16, height: 48 }

function config(panel) {
  const { defaults, overrides } = panel.fieldConfig
  return { defaults: merge({}, DEFAULTS[panel.type], structuredClone(defaults)), overrides: overrides ?? [] }
}

function overridden(panel, data, theme) {
  return applyFieldOverrides({
    data,
    theme,
    fieldConfig: config(panel),
    fieldConfigRegistry,
    replaceVariables: (text) => text,
    timeZone: 'utc',
  })
}

function transformed(panel, data) {
  const done = new Promise((resolve) => transformDataFrame(panel.transformations ?? [], data).subscribe(resolve))
  return done
}

/** Ask for everything that a panel shows. */
async function load(panel, range, width, scene, theme) {
  const answers = await run(panel, range, width, scene)
  const points = await exemplars(panel, range, width, scene)
  if (panel.type === 'table') {
    const data = await transformed(panel, tables(answers))
    return { data: overridden(panel, data, theme), points }
  }
  return { data: overridden(panel, frames(answers), theme), points }
}

export function Panel({ panel, range, dashboardRange, info, scene, width, height }) {
  const theme = useTheme2()
  const [state, setState] = useState({})
  useEffect(() => {
    load(panel, range, width - CHROME.width, scene, theme).then(setState, (error) => {
      console.error(panel.title, error)
      setState({ error })
    })
  }, [])
  const Body = KINDS[panel.type]
  return (
    <PanelChrome
      title={panel.title} description={panel.description} width={width} height={height}
      statusMessage={state.error?.message} titleItems={info && <small style={{ opacity: 0.7 }}>🕑 {info}</small>}
    >
      {(w, h) =>
        state.data ? <Body panel={panel} data={state.data} points={state.points} range={range} width={w} height={h} /> : null
      }
    </PanelChrome>
  )
}

const Nothing = ({ text = 'No data' }) => (
  <div style={{ height: '100%', display: 'flex', alignItems: 'center', justifyContent: 'center', opacity: 0.7 }}>{text}</div>
)

function Lines({ panel, data, points, range, width, height }) {
  const theme = useTheme2()
  if (!data.length) return <Nothing />
  const draw = (u) => {
    u.ctx.fillStyle = theme.visualization.getColorByName('blue')
    for (const { timestamp, value } of points) {
      const [x, y] = [u.valToPos(timestamp * 1000, 'x', true), u.valToPos(Number(value), u.series[1].scale, true)]
      if (y < u.bbox.top) continue
      u.ctx.save()
      u.ctx.translate(x, y)
      u.ctx.rotate(Math.PI / 4)
      u.ctx.fillRect(-3, -3, 6, 6)
      u.ctx.restore()
    }
  }
  return (
    <TimeSeries
      frames={data} width={width} height={height} timeRange={range} timeZone="utc"
      legend={panel.options.legend} options={panel.options}
    >
      {(builder) => {
        if (points.length) builder.addHook('draw', draw)
        return null
      }}
    </TimeSeries>
  )
}

function displayed(panel, data, theme) {
  return getFieldDisplayValues({
    data,
    theme,
    fieldConfig: config(panel),
    reduceOptions: panel.options.reduceOptions,
    replaceVariables: (text) => text,
    timeZone: 'utc',
  })
}

function Stat({ panel, data, width, height }) {
  const theme = useTheme2()
  const values = displayed(panel, data, theme)
  const each = width / Math.max(1, values.length)
  return (
    <div style={{ display: 'flex' }}>
      {values.map((value, place) => (
        <BigValue
          key={place} theme={theme} width={each} height={height} value={value.display} count={values.length}
          colorMode={panel.options.colorMode} graphMode={panel.options.graphMode}
          justifyMode={panel.options.justifyMode ?? 'auto'} textMode={panel.options.textMode ?? 'auto'}
        />
      ))}
    </div>
  )
}

const SPACING = 8

function Bars({ panel, data, width, height }) {
  const theme = useTheme2()
  const values = displayed(panel, data, theme)
  if (!data.length) return <Nothing text={panel.fieldConfig.defaults.noValue} />
  const { options } = panel
  const tall = Math.max(options.minVizHeight ?? 16, (height - SPACING * (values.length - 1)) / values.length)
  const each = options.sizing === 'manual' ? Math.min(tall, options.maxVizHeight ?? 300) : tall
  const factors = getDisplayValueAlignmentFactors(values)
  return (
    <div style={{ display: 'flex', flexDirection: 'column', gap: SPACING, height, overflow: 'hidden' }}>
      {values.map((value, place) => (
        <BarGauge
          key={place} theme={theme} width={width} height={each} value={value.display} field={value.field}
          display={value.view?.getFieldDisplayProcessor(value.colIndex)} orientation={VizOrientation.Horizontal}
          displayMode={options.displayMode} valueDisplayMode={options.valueMode} showUnfilled={options.showUnfilled}
          namePlacement={options.namePlacement} text={options.text} alignmentFactors={factors} itemSpacing={SPACING}
        />
      ))}
    </div>
  )
}

function Rows({ panel, data, width, height }) {
  const frame = data[0]
  if (!frame?.length) return <Nothing text={panel.fieldConfig.defaults.noValue} />
  return (
    <Table
      data={frame} width={width} height={height} cellHeight={panel.options.cellHeight}
      initialSortBy={panel.options.sortBy} timeRange={null} fieldConfig={panel.fieldConfig}
    />
  )
}

function Heat({ panel, data, points, range, width, height }) {
  if (!data.length) return <Nothing />
  const unit = panel.options.yAxis?.unit ?? panel.fieldConfig.defaults.unit
  return <Heatmap frames={data} width={width} height={height} range={range} unit={unit} exemplars={points} />
}

const KINDS = { timeseries: Lines, stat: Stat, bargauge: Bars, table: Rows, heatmap: Heat }
