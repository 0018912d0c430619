// Panels whose code is in no package of Grafana: plain drawings over the same frames, marked as such.
import { FieldType, formattedValueToString, getFieldDisplayName } from '@grafana/data';
import { withGaps } from './frames.js';

export function Empty({ text, report }) {
  report.empty = true;
  return <div className="empty">{text || 'No data'}</div>;
}

const columnsOf = (frame) => frame.fields.filter((field) => !field.config.custom?.hidden);

// Neighbouring samples of one value make one bar; a missing sample makes none.
function bars(times, values, end) {
  const found = [];
  values.forEach((value, index) => {
    const last = found.at(-1);
    if (last && last.value === value) {
      last.end = times[index + 1] ?? end;
    } else {
      found.push({ value, begin: times[index], end: times[index + 1] ?? end });
    }
  });
  return found.filter((bar) => bar.value !== null);
}

function Row({ field, name, times, request, report }) {
  const { from_ms, to_ms } = request;
  const share = (at) => `${(100 * (at - from_ms)) / (to_ms - from_ms)}%`;
  const drawn = bars(times, field.values, to_ms).map((bar) => ({ ...bar, shown: field.display(bar.value) }));
  report.series.push({
    name,
    states: [...new Set(drawn.map((bar) => formattedValueToString(bar.shown)))],
    colours: [...new Set(drawn.map((bar) => bar.shown.color ?? ''))],
    points: drawn.length,
  });
  return (
    <div className="row">
      <span className="name">{name}</span>
      <div className="track">
        {drawn.map((bar) => (
          <i
            key={bar.begin}
            style={{
              left: share(bar.begin),
              width: share(from_ms + bar.end - bar.begin),
              background: bar.shown.color,
            }}
          />
        ))}
      </div>
    </div>
  );
}

export function Timeline({ prepared, request, report }) {
  const frames = prepared.frames.map(withGaps);
  report.series = [];
  const rows = frames.flatMap((frame) => {
    const time = frame.fields.find((field) => field.type === FieldType.time);
    return frame.fields
      .filter((field) => field !== time)
      .map((field) => ({ field, name: getFieldDisplayName(field, frame, frames), times: time.values }));
  });
  if (!rows.length) {
    return <Empty text={prepared.fieldConfig.defaults.noValue} report={report} />;
  }
  return (
    <div className="timeline">
      {rows.map((row, index) => (
        <Row key={index} {...row} request={request} report={report} />
      ))}
    </div>
  );
}

export function Table({ prepared, report }) {
  const [frame] = prepared.frames;
  if (!frame?.length) {
    return <Empty text={prepared.fieldConfig.defaults.noValue} report={report} />;
  }
  const columns = columnsOf(frame);
  const names = columns.map((field) => getFieldDisplayName(field, frame, prepared.frames));
  const cells = Array.from({ length: frame.length }, (_, row) =>
    columns.map((field) => field.display(field.values[row]))
  );
  report.table = { columns: names, rows: cells.map((row) => row.map(formattedValueToString)) };
  return (
    <table>
      <thead>
        <tr>{names.map((name) => <th key={name}>{name}</th>)}</tr>
      </thead>
      <tbody>
        {cells.map((row, index) => (
          <tr key={index}>
            {row.map((cell, column) => (
              <td key={column} style={coloured(columns[column]) ? { background: cell.color } : {}}>
                {formattedValueToString(cell)}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

const coloured = (field) => field.config.custom?.cellOptions?.type?.startsWith('color') ?? false;
