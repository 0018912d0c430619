// Draws TTFT, ITL, tokens/s and the client's own delay below Locust's charts, from what /kvchaos/points tells.
"use strict";
(() => {
  const EVERY_MS = 2000, WIDTH = 1000, HEIGHT = 260, LEFT = 70, RIGHT = 20, TOP = 12, BOTTOM = 28;
  const COLOURS = ["#ff9f00", "#9966cc"];
  const BOTH = ["median", "99th percentile"];
  const CHARTS = [
    { key: "ttft", title: "TTFT (ms)", lines: BOTH },
    { key: "itl", title: "ITL, time between two events of a stream (ms)", lines: BOTH },
    { key: "tokens", title: "Tokens per second", lines: ["tokens/s"] },
    { key: "lag", title: "The client's own delay (ms): what is above may be late by this much", lines: BOTH },
  ];
  const place = document.createElement("section");
  place.id = "kvchaos-charts";
  place.style.cssText = "max-width: 1536px; margin: 0 auto; padding: 0 24px; font-family: Roboto, Arial, sans-serif";

  // A round number not below the highest value: 1, 2 or 5 times a power of ten.
  const roundUp = (value) => {
    const power = 10 ** Math.floor(Math.log10(value || 1));
    return [1, 2, 5, 10].map((digit) => digit * power).find((round) => round >= value);
  };
  const clock = (atMs) => new Date(atMs).toLocaleTimeString([], { hour12: false });
  const text = (x, y, anchor, words) =>
    `<text x="${x}" y="${y}" text-anchor="${anchor}" font-size="13" fill="currentColor">${words}</text>`;

  const draw = ({ key, title, lines }, points) => {
    const values = points.flatMap((point) => point[key]).filter((value) => value !== null);
    if (!values.length) return "";
    const top = roundUp(Math.max(...values));
    const [first, last] = [points[0].at_ms, points.at(-1).at_ms];
    const x = (atMs) => LEFT + ((atMs - first) / Math.max(last - first, 1)) * (WIDTH - LEFT - RIGHT);
    const y = (value) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - TOP - BOTTOM);
    const rules = [0, 0.25, 0.5, 0.75, 1].map((share) => {
      const at = y(share * top);
      return `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${at}" y2="${at}" stroke="currentColor" opacity="0.15"/>`
        + text(LEFT - 8, at + 4, "end", +(share * top).toPrecision(3));
    });
    const paths = lines.map((_, line) => {
      let pen = "M";
      const steps = points.map((point) => {
        const value = point[key][line];
        if (value === null) { pen = "M"; return ""; }
        const step = `${pen}${x(point.at_ms).toFixed(1)} ${y(value).toFixed(1)}`;
        pen = "L";
        return step;
      });
      return `<path d="${steps.join("")}" fill="none" stroke="${COLOURS[line]}" stroke-width="2" stroke-linecap="round"/>`;
    });
    const legend = lines.map((name, line) => `<span style="color:${COLOURS[line]}">&#9632;</span> ${name}`);
    const times = text(LEFT, HEIGHT - 8, "start", clock(first)) + text(WIDTH - RIGHT, HEIGHT - 8, "end", clock(last));
    return `<figure id="kvchaos-${key}" style="margin: 0 0 24px"><figcaption><b>${title}</b> ${legend.join(" ")}</figcaption>`
      + `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" width="100%">${rules.join("")}${paths.join("")}${times}</svg></figure>`;
  };

  const refresh = async () => {
    const shown = new URLSearchParams(location.search).get("tab") === "charts";
    place.hidden = !shown;
    const main = document.querySelector("main");
    if (!shown || main === null) return;
    // Behind what Locust draws there; it makes a new one now and then.
    if (place.parentElement !== main) main.append(place);
    const answer = await fetch("./kvchaos/points");
    const told = await answer.json();
    const begin = told.findIndex((point) => point.ttft[0] !== null);
    const points = begin < 0 ? [] : told.slice(begin);
    place.innerHTML = CHARTS.map((chart) => draw(chart, points)).join("");
  };
  const keep = () => refresh().catch(() => { /* Locust has ended; the page stays as it is. */ });
  setInterval(keep, EVERY_MS);
  keep();
})();
