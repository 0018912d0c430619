// Data frames of Prometheus' answers, with the options of a panel applied, as Grafana's core makes them.
import {
  FieldType,
  PanelPlugin,
  applyFieldOverrides,
  getPanelOptionsWithDefaults,
  toDataFrame,
  transformDataFrame,
} from '@grafana/data';
import { firstValueFrom } from 'rxjs';
import { KINDS, addCustomOptions } from './options.js';

const VARIABLE = /\$\{?(\w+)(?::\w+)?\}?/g;
const LABEL = /\{\{\s*(.+?)\s*\}\}/g;

export const interpolate = (variables) => (text) =>
  String(text).replace(VARIABLE, (whole, name) => (name in variables ? variables[name] : whole));

// Without a legend Grafana's data source names a series by its metric and labels.
function nameOf(legend, labels) {
  if (legend && legend !== '__auto') {
    return legend.replace(LABEL, (_, label) => labels[label] ?? '');
  }
  const others = Object.entries(labels).filter(([label]) => label !== '__name__');
  const inside = others.map(([label, value]) => `${label}="${value}"`).join(', ');
  return `${labels.__name__ ?? ''}{${inside}}`;
}

const NUMBERS = { NaN: null, '+Inf': Infinity, '-Inf': -Infinity };
const numberOf = (text) => (text in NUMBERS ? NUMBERS[text] : Number(text));

function graphFrame(target, series) {
  const name = nameOf(target.legend, series.metric);
  const { __name__: metric, ...labels } = series.metric;
  const points = series.values ?? [series.value];
  return toDataFrame({
    refId: target.refId,
    name: metric ?? name,
    fields: [
      {
        name: 'Time',
        type: FieldType.time,
        config: target.instant ? {} : { interval: target.step_ms },
        values: points.map(([seconds]) => seconds * 1000),
      },
      {
        name: 'Value',
        type: FieldType.number,
        labels,
        config: { displayNameFromDS: name },
        values: points.map(([, text]) => numberOf(text)),
      },
    ],
  });
}

// `format: table` of a query: a row for each series, a column for each label.
function tableFrame(target) {
  const labels = [...new Set(target.result.flatMap((one) => Object.keys(one.metric)))].sort();
  const last = (series) => (series.values ?? [series.value]).at(-1);
  return toDataFrame({
    refId: target.refId,
    fields: [
      { name: 'Time', type: FieldType.time, values: target.result.map((one) => last(one)[0] * 1000) },
      ...labels.map((label) => ({
        name: label,
        type: FieldType.string,
        values: target.result.map((one) => one.metric[label] ?? ''),
      })),
      { name: 'Value', type: FieldType.number, values: target.result.map((one) => numberOf(last(one)[1])) },
    ],
  });
}

// Tables of several queries: each has a value column of its own name, so that they can be merged.
function rename(frame, several) {
  if (several) {
    frame.fields.at(-1).name = `Value #${frame.refId}`;
  }
  return frame;
}

function rawFrames(targets) {
  const several = targets.length > 1;
  return targets.flatMap((target) =>
    target.format === 'table'
      ? target.result.length ? [rename(tableFrame(target), several)] : []
      : target.result.map((series) => graphFrame(target, series))
  );
}

// A null where a sample is missing: lines end there, as with Grafana's own null insertion.
export function withGaps(frame) {
  const time = frame.fields.find((field) => field.type === FieldType.time);
  const interval = time?.config.interval;
  if (!interval) {
    return frame;
  }
  const gaps = time.values.flatMap((at, index) =>
    index + 1 < time.values.length && time.values[index + 1] - at > interval ? [index] : []
  );
  const widened = (values, between) =>
    values.flatMap((value, index) => (gaps.includes(index) ? [value, between(index)] : [value]));
  const fields = frame.fields.map((field) =>
    field === time
      ? {
          ...field,
          values: widened(field.values, (index) => time.values[index] + interval),
          state: { ...field.state, nullThresholdApplied: true },
        }
      : { ...field, values: widened(field.values, () => null) }
  );
  return { ...frame, fields, length: fields[0].values.length };
}

function pluginOf(type) {
  const kind = KINDS[type];
  return new PanelPlugin(() => null).useFieldConfig({
    standardOptions: kind.standardOptions,
    useCustomConfig: (builder) => addCustomOptions(builder, kind.custom),
  });
}

export async function prepare(panel, targets, { variables, theme, timeZone }) {
  const plugin = pluginOf(panel.type);
  const { fieldConfig } = getPanelOptionsWithDefaults({
    plugin,
    currentOptions: {},
    currentFieldConfig: structuredClone(panel.fieldConfig),
    isAfterPluginChange: false,
  });
  const options = { ...KINDS[panel.type].options, ...panel.options };
  const context = { interpolate: interpolate(variables) };
  const raw = rawFrames(targets);
  const steps = (panel.transformations ?? []).filter((one) => !one.disabled);
  const data = steps.length ? await firstValueFrom(transformDataFrame(steps, raw, context)) : raw;
  const frames = applyFieldOverrides({
    data,
    fieldConfig,
    fieldConfigRegistry: plugin.fieldConfigRegistry,
    replaceVariables: interpolate(variables),
    theme,
    timeZone,
  });
  return { frames, fieldConfig, options };
}
