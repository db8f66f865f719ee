// One dashboard on one page: `?board=1-overview&scene=live`, `?panels=3,4` for only some of them.

import { createTheme, dateMath, dateTime, rangeUtil } from '@grafana/data'
import { GlobalStyles, PortalContainer, ThemeContext } from '@grafana/ui'
import { createRoot } from 'react-dom/client'
import { Panel } from './panels.jsx'
import { init } from './registry.js'

const COLUMNS = 24
const ROW = 30
const GAP = 8

function rangeOf(from, to, raw = { from, to }) {
  return { from: dateTime(from), to: dateTime(to), raw }
}

/** The range of one panel, which may have one of its own. */
function own(panel, range, scene) {
  if (!panel.timeFrom) return [range, '']
  const described = rangeUtil.describeTextRange(panel.timeFrom)
  if (described.invalid) return [range, 'invalid time override']
  const from = dateMath.parse(described.from, false, 'utc', undefined, dateTime(scene.to_ms))
  return [rangeOf(from ?? scene.from_ms, scene.to_ms), panel.hideTimeOverride ? '' : described.display]
}

function place(grid, width) {
  const column = (width + GAP) / COLUMNS
  return {
    left: grid.x * column,
    top: grid.y * (ROW + GAP),
    width: grid.w * column - GAP,
    height: grid.h * (ROW + GAP) - GAP,
  }
}

function Board({ board, scene, theme }) {
  const width = document.documentElement.clientWidth - 2 * GAP
  const range = rangeOf(scene.from_ms, scene.to_ms)
  const chosen = Object.entries(scene.variables).map(([name, value]) => (
    <span key={name} style={{ marginRight: 16 }}>
      <b>{name}</b> {/^\.[*+]$/.test(value) ? 'All' : value}
    </span>
  ))
  return (
    <main style={{ padding: GAP, background: theme.colors.background.canvas, minHeight: '100vh' }}>
      <h3 style={{ margin: '4px 0' }}>{board.title}</h3>
      <p style={{ opacity: 0.8 }}>
        {chosen} {range.from.utc().format('YYYY-MM-DD HH:mm')} to {range.to.utc().format('YYYY-MM-DD HH:mm')} UTC ·{' '}
        {scene.note}
      </p>
      <div style={{ position: 'relative' }}>
        {board.panels.map((panel) => {
          const { width: w, height: h, ...at } = place(panel.gridPos, width)
          const style = { position: 'absolute', ...at }
          if (panel.type === 'row') {
            return <h6 key={panel.id} style={{ ...style, margin: 0, lineHeight: `${ROW}px` }}>⌄ {panel.title}</h6>
          }
          const [its, info] = own(panel, range, scene)
          return (
            <div key={panel.id} style={style}>
              <Panel panel={panel} range={its} info={info} scene={scene} width={w} height={h} />
            </div>
          )
        })}
      </div>
    </main>
  )
}

const asked = new URLSearchParams(location.search)
const fetched = async (path) => (await fetch(path)).json()
init()
const [board, scenes] = await Promise.all([fetched(`boards/${asked.get('board')}.json`), fetched('scenes.json')])
const theme = createTheme({ colors: { mode: asked.get('theme') ?? 'dark' } })
createRoot(document.getElementById('root')).render(
  <ThemeContext.Provider value={theme}>
    <GlobalStyles />
    <PortalContainer />
    <Board board={board} scene={scenes[asked.get('scene')]} theme={theme} />
  </ThemeContext.Provider>
)
