// Hold each dashboard to the types that Grafana publishes of its schema, for each version from 10 to 13.
//
// `node check.mjs [DASHBOARDS]`. A value that a version's type does not allow is an error. A key that
// a version does not know is told: Grafana leaves such keys alone.

import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

const HERE = dirname(fileURLToPath(import.meta.url))
const BOARDS = process.argv[2] ?? join(HERE, '..', 'grafana')
const KINDS = { timeseries: 'TimeSeries', stat: 'Stat', bargauge: 'BarGauge', table: 'Table', heatmap: 'Heatmap' }

/** What is not as a version's types say, and is well all the same. */
const KNOWN = {
  'schema-10.0': ['panel.fieldConfig.defaults.thresholds.steps[].value = null'], // as Grafana itself writes its -Infinity
}

function versions() {
  const { devDependencies } = JSON.parse(readFileSync(join(HERE, 'package.json')))
  return Object.keys(devDependencies).filter((name) => name.startsWith('schema-'))
}

/** The types of one version, by file and name. */
function open(version) {
  const dist = join(HERE, 'node_modules', version, 'dist')
  const first = (...paths) => paths.map((path) => join(dist, path)).find(existsSync)
  const files = {
    dashboard: first('esm/raw/dashboard/x/dashboard_types.gen.d.ts', 'types/raw/dashboard/x/types.gen.d.ts'),
    index: first('index.d.ts', 'esm/index.d.mts', 'types/index.d.ts'),
  }
  for (const [kind, name] of Object.entries(KINDS)) {
    files[kind] = first(
      `types/raw/composable/${kind}/panelcfg/x/types.gen.d.ts`,
      `esm/raw/composable/${kind}/panelcfg/x/${name}PanelCfg_types.gen.d.ts`
    )
  }
  const program = ts.createProgram(Object.values(files), {
    strict: true,
    skipLibCheck: true,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    module: ts.ModuleKind.ESNext,
    paths: { '@grafana/schema': [files.index] },
  })
  const checker = program.getTypeChecker()
  const type = (file, name) => {
    const module = checker.getSymbolAtLocation(program.getSourceFile(files[file]))
    const found = checker.getExportsOfModule(module).find((symbol) => symbol.name === name)
    return found && checker.getDeclaredTypeOfSymbol(found)
  }
  return { checker, type }
}

const parts = (type) => (type.isUnion() ? type.types : [type])

/** Whether a type allows a plain value; of an enum its members' values count. */
function allows(checker, type, value) {
  return parts(type).some((part) => {
    if (part.flags & (ts.TypeFlags.Any | ts.TypeFlags.Unknown)) return true
    if (part.flags & (ts.TypeFlags.Null | ts.TypeFlags.Undefined)) return value === null
    if (part.flags & ts.TypeFlags.EnumLike && part.value === undefined) return parts(part).some((one) => one.value === value)
    if (part.isStringLiteral() || part.isNumberLiteral()) return part.value === value
    if (part.flags & ts.TypeFlags.BooleanLiteral) return checker.typeToString(part) === String(value)
    if (part.flags & ts.TypeFlags.String) return typeof value === 'string'
    if (part.flags & ts.TypeFlags.Number) return typeof value === 'number'
    if (part.flags & ts.TypeFlags.Boolean) return typeof value === 'boolean'
    return false
  })
}

/** Walk through a value beside its type; `tell` what is not in the type, or not allowed by it. */
function walk(checker, type, value, place, tell) {
  const any = parts(type).some((part) => part.flags & (ts.TypeFlags.Any | ts.TypeFlags.Unknown))
  if (any) return
  if (Array.isArray(value)) {
    const element = parts(type).map((part) => part.getNumberIndexType()).find(Boolean)
    if (!element) tell('value', place, value)
    else value.forEach((one) => walk(checker, element, one, `${place}[]`, tell))
  } else if (value !== null && typeof value === 'object') {
    const objects = parts(type).filter((part) => part.flags & (ts.TypeFlags.Object | ts.TypeFlags.Intersection))
    if (!objects.length) return tell('value', place, value)
    for (const [key, one] of Object.entries(value)) {
      const symbols = objects.map((part) => part.getProperty(key)).filter(Boolean)
      const indexes = objects.map((part) => part.getStringIndexType()).filter(Boolean)
      const found = [...symbols.map((symbol) => checker.getTypeOfSymbol(symbol)), ...indexes]
      if (!found.length) tell('key', `${place}.${key}`, one)
      else walkAny(checker, found, one, `${place}.${key}`, tell)
    }
  } else if (!allows(checker, type, value)) tell('value', place, value)
}

/** As `walk`, where any of several types will do. */
function walkAny(checker, types, value, place, tell) {
  const told = types.map((type) => {
    const list = []
    walk(checker, type, value, place, (...one) => list.push(one))
    return list
  })
  told.sort((one, other) => one.length - other.length)[0].forEach((one) => tell(...one))
}

function check(version) {
  const { checker, type } = open(version)
  const found = { key: new Set(), value: new Set() }
  const tell = (kind, place, value) => found[kind].add(kind === 'key' ? place : `${place} = ${JSON.stringify(value)}`)
  const against = (file, name, value, place) => {
    const wanted = type(file, name)
    if (!wanted) throw new Error(`${version}: no type ${name} of ${file}`)
    walk(checker, wanted, value, place, tell)
  }
  for (const file of readdirSync(BOARDS).filter((name) => name.endsWith('.json'))) {
    const { panels, templating, annotations, ...board } = JSON.parse(readFileSync(join(BOARDS, file)))
    against('dashboard', 'Dashboard', board, 'dashboard')
    templating.list.forEach((one) => against('dashboard', 'VariableModel', one, 'variable'))
    annotations.list.forEach((one) => against('dashboard', 'AnnotationQuery', one, 'annotation'))
    for (const panel of panels) {
      if (panel.type === 'row') {
        against('dashboard', 'RowPanel', panel, 'row')
        continue
      }
      const { custom, ...defaults } = panel.fieldConfig.defaults
      against('dashboard', 'Panel', { ...panel, options: {}, fieldConfig: { ...panel.fieldConfig, defaults } }, 'panel')
      against(panel.type, 'Options', panel.options, `${panel.type}.options`)
      const fields = { timeseries: ['timeseries', 'FieldConfig'], table: ['index', 'TableFieldOptions'] }[panel.type]
      if (custom && fields) against(...fields, custom, `${panel.type}.custom`)
    }
  }
  return found
}

let wrong = 0
for (const version of versions()) {
  const { key, value } = check(version)
  for (const one of KNOWN[version] ?? []) value.delete(one)
  wrong += value.size
  console.log(`${version}: ${value.size} values that its types do not allow, ${key.size} keys that they do not know`)
  for (const one of [...value].sort()) console.log(`  not allowed: ${one}`)
  for (const one of [...key].sort()) console.log(`  not known: ${one}`)
}
process.exitCode = wrong ? 1 : 0
