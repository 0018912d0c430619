// The page that draws a board: `window.drawBoard(request)` returns a report of each panel.
import { DashboardCursorSync, EventBusSrv, createTheme, dateTime } from '@grafana/data';
import { PanelChrome, PanelContextProvider, ThemeContext } from '@grafana/ui';
import { Component } from 'react';
import { createRoot } from 'react-dom/client';
import { Bars, Figure } from './figures.jsx';
import { interpolate, prepare } from './frames.js';
import { Graph } from './graph.jsx';
import { fillRegistries } from './options.js';
import { Empty, Table, Timeline } from './substitutes.jsx';

const DRAWN = { timeseries: Graph, stat: Figure, bargauge: Bars };
const SUBSTITUTES = { 'state-timeline': Timeline, 'status-history': Timeline, table: Table, heatmap: Timeline };
const ROW_HEIGHT = 30;
const GAP = 8;
const COLUMNS = 24;

fillRegistries();

// A panel that throws shows its error, as in Grafana, and the others are drawn.
class Guard extends Component {
  state = { error: null };

  static getDerivedStateFromError(error) {
    return { error };
  }

  componentDidCatch(error) {
    this.props.report.errors.push(String(error));
  }

  render() {
    return this.state.error ? <div className="empty">{String(this.state.error)}</div> : this.props.children;
  }
}

function place({ x, y, w, h }, width) {
  const column = width / COLUMNS;
  return {
    left: x * column + GAP / 2,
    top: y * (ROW_HEIGHT + GAP),
    width: w * column - GAP,
    height: h * (ROW_HEIGHT + GAP) - GAP,
  };
}

function Panel({ panel, index, prepared, request, report }) {
  const Body = DRAWN[panel.type] ?? SUBSTITUTES[panel.type];
  const { width, height, ...position } = place(panel.gridPos, request.width);
  const title = interpolate(request.variables)(panel.title);
  const context = { eventBus: new EventBusSrv(), eventsScope: title, sync: () => DashboardCursorSync.Off };
  return (
    <section style={{ ...position, width, height }} data-panel={title} data-index={index}>
      <PanelChrome width={width} height={height} title={title} description={panel.description}>
        {(innerWidth, innerHeight) => (
          <Guard report={report}>
            <PanelContextProvider value={context}>
              {report.errors.length ? (
                <Empty text={report.errors.join('; ')} report={report} />
              ) : (
                <Body
                  width={innerWidth}
                  height={innerHeight}
                  prepared={prepared}
                  request={request}
                  report={report}
                />
              )}
            </PanelContextProvider>
          </Guard>
        )}
      </PanelChrome>
      {report.substitute && <span className="substitute">drawn by a substitute</span>}
    </section>
  );
}

function Row({ panel, request }) {
  return (
    <h2 style={{ top: panel.gridPos.y * (ROW_HEIGHT + GAP) }}>{interpolate(request.variables)(panel.title)}</h2>
  );
}

const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));

function emptyReport({ panel, targets }) {
  return {
    title: panel.title,
    type: panel.type,
    substitute: panel.type in SUBSTITUTES,
    empty: false,
    errors: targets.map((target) => target.error).filter(Boolean),
    legend: [],
    axes: [],
    series: [],
    figures: [],
    table: null,
  };
}

async function prepareSafely(given, request, report) {
  if (!(given.panel.type in DRAWN) && !(given.panel.type in SUBSTITUTES)) {
    report.errors.push(`the harness has no panel of type ${given.panel.type}`);
    return null;
  }
  try {
    return await prepare(given.panel, given.targets, request);
  } catch (error) {
    report.errors.push(String(error));
    return null;
  }
}

// As a reader sees them: the names in the legend of the page.
function readLegends(root, reports) {
  for (const section of root.querySelectorAll('section[data-panel]')) {
    const report = reports[Number(section.dataset.index)];
    const items = section.querySelectorAll('[data-testid^="data-testid VizLegend series"]');
    report.legend = Array.from(items, (item) => item.textContent.trim());
    report.title = section.dataset.panel;
  }
}

window.drawBoard = async (given) => {
  const theme = createTheme({ colors: { mode: given.theme } });
  const [from, to] = [dateTime(given.from_ms), dateTime(given.to_ms)];
  const request = { ...given, theme, timeRange: { from, to, raw: { from, to } } };
  const reports = given.panels.map(emptyReport);
  const prepared = await Promise.all(
    given.panels.map((one, index) => prepareSafely(one, request, reports[index]))
  );
  const host = document.getElementById('board');
  document.body.style.background = theme.colors.background.canvas;
  document.body.style.color = theme.colors.text.primary;
  host.style.height = `${given.height_rows * (ROW_HEIGHT + GAP)}px`;
  host.style.width = `${given.width}px`;
  window.root?.unmount();
  window.root = createRoot(host);
  window.root.render(
    <ThemeContext.Provider value={theme}>
      {given.rows.map((panel) => (
        <Row key={`row ${panel.title}`} panel={panel} request={request} />
      ))}
      {given.panels.map((one, index) => (
        <Panel
          key={index}
          index={index}
          panel={one.panel}
          prepared={prepared[index]}
          request={request}
          report={reports[index]}
        />
      ))}
    </ThemeContext.Provider>
  );
  for (let wait = 0; wait < 6; wait += 1) {
    await frame();
  }
  readLegends(host, reports);
  return reports;
};
