// Stat and bar gauge panels: Grafana's BigValue and BarGauge, and a record of the values that they show.
import { formattedValueToString, getDisplayValueAlignmentFactors, getFieldDisplayValues } from '@grafana/data';
import { BarGauge, BigValue, VizRepeater } from '@grafana/ui';
import { interpolate } from './frames.js';

function valuesOf(prepared, request, sparkline) {
  return getFieldDisplayValues({
    fieldConfig: prepared.fieldConfig,
    reduceOptions: prepared.options.reduceOptions,
    replaceVariables: interpolate(request.variables),
    theme: request.theme,
    data: prepared.frames,
    sparkline,
    timeZone: request.timeZone,
  });
}

function record(values, report) {
  report.figures = values.map(({ display, view }) => ({
    name: display.title ?? '',
    text: formattedValueToString(display),
    number: Number.isFinite(display.numeric) ? display.numeric : null,
    colour: display.color ?? '',
    // Grafana shows the text for a panel without data as a value without a view of any frame.
    data: view !== undefined,
  }));
}

export function Figure({ width, height, prepared, request, report }) {
  const { options } = prepared;
  const values = valuesOf(prepared, request, options.graphMode !== 'none');
  record(values, report);
  const draw = ({ value, alignmentFactors, width: own, height: tall, count }) => (
    <BigValue
      value={value.display}
      count={count}
      sparkline={value.sparkline}
      colorMode={options.colorMode}
      graphMode={options.graphMode}
      justifyMode={options.justifyMode}
      textMode={options.textMode}
      alignmentFactors={alignmentFactors}
      text={options.text}
      width={own}
      height={tall}
      theme={request.theme}
      wideLayout={options.wideLayout}
    />
  );
  return <Repeated {...{ width, height, prepared, values, draw }} itemSpacing={3} autoGrid={true} />;
}

const Repeated = ({ width, height, prepared, values, draw, ...layout }) => (
  <VizRepeater
    getValues={() => values}
    getAlignmentFactors={getDisplayValueAlignmentFactors}
    renderValue={draw}
    width={width}
    height={height}
    source={prepared}
    renderCounter={1}
    orientation={prepared.options.orientation ?? 'auto'}
    {...layout}
  />
);

const sizesOf = ({ sizing, minVizWidth, minVizHeight, maxVizHeight }) =>
  sizing === 'manual'
    ? { minVizWidth, minVizHeight, maxVizHeight }
    : { minVizWidth: 8, minVizHeight: 16, maxVizHeight: 300 };

export function Bars({ width, height, prepared, request, report }) {
  const { options } = prepared;
  const values = valuesOf(prepared, request, false);
  record(values, report);
  const draw = ({ value, alignmentFactors, orientation, width: own, height: tall }) => (
    <BarGauge
      value={value.display}
      field={value.field}
      text={options.text}
      display={value.view?.getFieldDisplayProcessor(value.colIndex)}
      alignmentFactors={alignmentFactors}
      orientation={orientation}
      displayMode={options.displayMode}
      valueDisplayMode={options.valueMode}
      namePlacement={options.namePlacement}
      showUnfilled={options.showUnfilled}
      width={own}
      height={tall}
      theme={request.theme}
    />
  );
  return <Repeated {...{ width, height, prepared, values, draw }} itemSpacing={8} {...sizesOf(options)} />;
}
