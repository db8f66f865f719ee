// The options that Grafana applies to fields, as far as the dashboards use them.
// Grafana's own list is in its application, not in the packages.

import {
  FieldColorModeId,
  FieldConfigOptionsRegistry,
  FieldType,
  standardEditorsRegistry,
  standardFieldConfigEditorRegistry,
  standardTransformers,
  standardTransformersRegistry,
} from '@grafana/data'

const numeric = (field) => field.type === FieldType.number
const any = () => true
const STANDARD = {
  unit: any, decimals: numeric, min: numeric, max: numeric, displayName: any, noValue: any,
  links: any, mappings: any, thresholds: numeric, color: numeric, filterable: any, description: any,
}
const CUSTOM = [
  'drawStyle', 'lineInterpolation', 'lineWidth', 'fillOpacity', 'gradientMode', 'showPoints', 'pointSize',
  'stacking', 'axisPlacement', 'axisLabel', 'axisColorMode', 'axisSoftMin', 'axisSoftMax', 'axisGridShow',
  'spanNulls', 'thresholdsStyle', 'hideFrom', 'scaleDistribution', 'align', 'width', 'minWidth',
  'filterable', 'cellOptions', 'inspect',
]

const item = (id, shouldApply, isCustom) => ({ id, path: id, name: id, isCustom, shouldApply, process: (value) => value })

function registry(custom) {
  return new FieldConfigOptionsRegistry(() => [
    ...Object.entries(STANDARD).map(([id, applies]) => item(id, applies, false)),
    ...custom.map((id) => ({ ...item(`custom.${id}`, any, true), path: id })),
  ])
}

export const fieldConfigRegistry = registry(CUSTOM)

/** What each kind of panel has where the JSON says nothing. */
export const DEFAULTS = {
  timeseries: {
    color: { mode: FieldColorModeId.PaletteClassic },
    custom: {
      drawStyle: 'line', lineInterpolation: 'linear', lineWidth: 1, fillOpacity: 0, gradientMode: 'none',
      showPoints: 'auto', pointSize: 5, axisPlacement: 'auto', axisLabel: '', axisColorMode: 'text',
      axisBorderShow: false, scaleDistribution: { type: 'linear' }, spanNulls: false, insertNulls: false,
      hideFrom: { tooltip: false, viz: false, legend: false }, stacking: { mode: 'none', group: 'A' },
      thresholdsStyle: { mode: 'off' },
    },
  },
  stat: { color: { mode: FieldColorModeId.Thresholds } },
  bargauge: { color: { mode: FieldColorModeId.Thresholds } },
  table: { color: { mode: FieldColorModeId.Thresholds }, custom: { align: 'auto', inspect: false, cellOptions: { type: 'auto' } } },
}

export function init() {
  standardEditorsRegistry.setInit(() => [])
  standardFieldConfigEditorRegistry.setInit(() => fieldConfigRegistry.list())
  const used = [standardTransformers.mergeTransformer, standardTransformers.organizeFieldsTransformer]
  standardTransformersRegistry.setInit(() =>
    used.map((transformation) => ({ id: transformation.id, name: transformation.name, transformation: async () => transformation, editor: null }))
  )
}
