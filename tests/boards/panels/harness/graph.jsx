// A time-series panel: Grafana's TimeSeries, and a record of what uPlot drew.
import { FieldType, getFieldDisplayName } from '@grafana/data';
import { TimeSeries } from '@grafana/ui';
import { withGaps } from './frames.js';
import { Empty } from './substitutes.jsx';

const NEAR = 24;
const EDGE = 2;
const hooked = new WeakSet();

const stroke = (u, index) => {
  const given = u.series[index].stroke;
  return typeof given === 'function' ? given(u, index) : given;
};

function rgb(colour) {
  const canvas = new OffscreenCanvas(1, 1).getContext('2d');
  canvas.fillStyle = colour;
  canvas.fillRect(0, 0, 1, 1);
  return canvas.getImageData(0, 0, 1, 1).data;
}

// Pixels of a colour inside the axes, and on them: a line of zeros is at the lower end.
function pixels(u, colour) {
  const { left, top, width, height } = u.bbox;
  const { data } = u.ctx.getImageData(left, top - EDGE, width, height + 2 * EDGE);
  const [red, green, blue] = rgb(colour);
  let count = 0;
  for (let at = 0; at < data.length; at += 4) {
    const distance =
      Math.abs(data[at] - red) + Math.abs(data[at + 1] - green) + Math.abs(data[at + 2] - blue);
    count += data[at + 3] > 128 && distance < NEAR ? 1 : 0;
  }
  return count;
}

const finite = (values) => Array.from(values).filter((one) => Number.isFinite(one));

function record(u, frame, frames, report) {
  report.axes = u.axes
    .filter((axis) => axis.scale !== 'x' && axis.show)
    .map((axis) => ({
      texts: (axis._values ?? []).filter((text) => text !== null && text !== ''),
      low: u.scales[axis.scale].min,
      high: u.scales[axis.scale].max,
    }));
  report.series = u.series.slice(1).map((_, before) => {
    const index = before + 1;
    const colour = stroke(u, index);
    const values = finite(u.data[index]);
    return {
      name: getFieldDisplayName(frame.fields[index], frame, frames),
      ref: frames[frame.fields[index].state?.origin?.frameIndex]?.refId ?? '',
      colour,
      points: values.length,
      low: Math.min(...values),
      high: Math.max(...values),
      pixels: pixels(u, colour),
    };
  });
}

// Grafana's own plugin for annotations is part of its core: a substitute.
function shade(u, annotations) {
  const { top, height, left, width } = u.bbox;
  for (const { colour, from_ms, to_ms } of annotations) {
    const begin = Math.max(left, u.valToPos(from_ms, 'x', true));
    const end = Math.min(left + width, Math.max(begin + 1, u.valToPos(to_ms, 'x', true)));
    u.ctx.save();
    u.ctx.fillStyle = colour;
    u.ctx.globalAlpha = 0.13;
    u.ctx.fillRect(begin, top, end - begin, height);
    u.ctx.globalAlpha = 0.9;
    u.ctx.fillRect(begin, top + height + EDGE, Math.max(2, end - begin), 3);
    u.ctx.restore();
  }
}

export function Graph({ width, height, prepared, request, report }) {
  const { frames, options, fieldConfig } = prepared;
  const shown = frames
    .filter((frame) => frame.fields.some((field) => field.type === FieldType.number))
    .map(withGaps);
  if (!shown.length) {
    return <Empty text={fieldConfig.defaults.noValue} report={report} />;
  }
  const watch = (config, frame) => {
    if (!hooked.has(config)) {
      hooked.add(config);
      config.addHook('drawClear', (u) => shade(u, request.annotations));
      config.addHook('draw', (u) => record(u, frame, shown, report));
    }
    return null;
  };
  return (
    <TimeSeries
      frames={shown}
      structureRev={1}
      timeRange={request.timeRange}
      timeZone={request.timeZone}
      width={width}
      height={height}
      legend={options.legend}
      options={options}
    >
      {watch}
    </TimeSeries>
  );
}
