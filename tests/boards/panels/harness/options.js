// The registry of field options, which Grafana's core fills and its packages only read.
import {
  FieldColorModeId,
  FieldType,
  ThresholdsMode,
  identityOverrideProcessor,
  standardFieldConfigEditorRegistry,
  standardTransformers,
  standardTransformersRegistry,
} from '@grafana/data';

const NUMBERS = (field) => field.type === FieldType.number;
const ALWAYS = () => true;
const Nothing = () => null;

// Defaults of Grafana: green, and red from 80 on, also where the number has no limit.
const THRESHOLDS = {
  mode: ThresholdsMode.Absolute,
  steps: [
    { value: -Infinity, color: 'green' },
    { value: 80, color: 'red' },
  ],
};
const STANDARD = {
  unit: [NUMBERS],
  min: [NUMBERS],
  max: [NUMBERS],
  fieldMinMax: [NUMBERS],
  decimals: [NUMBERS],
  displayName: [ALWAYS],
  noValue: [ALWAYS],
  color: [ALWAYS, { mode: FieldColorModeId.Thresholds }],
  thresholds: [NUMBERS, THRESHOLDS],
  mappings: [ALWAYS, []],
  links: [ALWAYS],
  actions: [ALWAYS],
  filterable: [ALWAYS],
};
const GRAPH = {
  drawStyle: 'line',
  lineInterpolation: 'linear',
  lineWidth: 1,
  fillOpacity: 0,
  gradientMode: 'none',
  barAlignment: 0,
  barWidthFactor: 0.6,
  lineStyle: { fill: 'solid' },
  fillBelowTo: undefined,
  spanNulls: false,
  insertNulls: false,
  showPoints: 'auto',
  pointSize: 5,
  stacking: { mode: 'none', group: 'A' },
  transform: undefined,
  thresholdsStyle: { mode: 'off' },
  hideFrom: { tooltip: false, viz: false, legend: false },
  axisPlacement: 'auto',
  axisLabel: '',
  axisWidth: undefined,
  axisGridShow: true,
  axisColorMode: 'text',
  axisBorderShow: false,
  axisCenteredZero: false,
  axisSoftMin: undefined,
  axisSoftMax: undefined,
  scaleDistribution: { type: 'linear' },
};
const TIMELINE = { lineWidth: 0, fillOpacity: 70, hideFrom: GRAPH.hideFrom };
const SERIES_COLOURS = {
  color: {
    defaultValue: { mode: FieldColorModeId.PaletteClassic },
    settings: { byValueSupport: true, bySeriesSupport: true, preferThresholdsMode: false },
  },
};
const VALUE_COLOURS = {
  color: { settings: { byValueSupport: true, bySeriesSupport: true, preferThresholdsMode: true } },
};
const REDUCED = { reduceOptions: { values: false, calcs: ['lastNotNull'], fields: '' } };

// Defaults of the options of each kind of panel, by its type.
export const KINDS = {
  timeseries: {
    custom: GRAPH,
    standardOptions: SERIES_COLOURS,
    options: { legend: { displayMode: 'list', placement: 'bottom', showLegend: true, calcs: [] } },
  },
  stat: {
    custom: {},
    standardOptions: VALUE_COLOURS,
    options: { ...REDUCED, graphMode: 'area', colorMode: 'value', justifyMode: 'auto', textMode: 'auto' },
  },
  bargauge: {
    custom: {},
    standardOptions: VALUE_COLOURS,
    options: {
      ...REDUCED,
      displayMode: 'gradient',
      valueMode: 'color',
      namePlacement: 'auto',
      sizing: 'auto',
    },
  },
  'state-timeline': { custom: TIMELINE, standardOptions: SERIES_COLOURS, options: {} },
  'status-history': { custom: TIMELINE, standardOptions: SERIES_COLOURS, options: {} },
  table: {
    custom: { align: 'auto', cellOptions: { type: 'auto' }, inspect: false, width: undefined, hidden: undefined },
    standardOptions: {},
    options: { showHeader: true },
  },
  heatmap: { custom: GRAPH, standardOptions: {}, options: {} },
};

const option = (id, path, shouldApply, defaultValue) => ({
  id,
  path,
  name: id,
  description: '',
  category: [id],
  editor: Nothing,
  override: Nothing,
  process: identityOverrideProcessor,
  shouldApply,
  defaultValue,
  getItemsCount: undefined,
});

const loadable = (transformer) =>
  Object.defineProperties(async () => transformer, Object.getOwnPropertyDescriptors(transformer));

export function fillRegistries() {
  standardFieldConfigEditorRegistry.setInit(() =>
    Object.entries(STANDARD).map(([id, [applies, defaultValue]]) => option(id, id, applies, defaultValue))
  );
  // Some are listed under two names. Grafana 13 calls `transformation`, earlier versions read it.
  const transformers = new Map(Object.values(standardTransformers).map((one) => [one.id, one]));
  standardTransformersRegistry.setInit(() =>
    [...transformers.values()].map((one) => ({ id: one.id, name: one.name, transformation: loadable(one), editor: Nothing }))
  );
}

export function addCustomOptions(builder, custom) {
  for (const [path, defaultValue] of Object.entries(custom)) {
    builder.addCustomEditor(option(path, path, (field) => field.type !== FieldType.time, defaultValue));
  }
}
