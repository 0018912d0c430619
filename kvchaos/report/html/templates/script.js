"use strict";
// The page is whole without this: it adds readings of charts, and opens what a link leads into.

const readings = JSON.parse((document.getElementById("readings") || {}).textContent || "{}");

/** The last value at or before a moment; null where nothing is known. */
function valueAt(points, t) {
  let low = 0, high = points.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle][0] <= t) low = middle + 1; else high = middle;
  }
  return low > 0 ? points[low - 1][1] : null;
}

function attach(canvas) {
  const chart = readings.charts && readings.charts[canvas.dataset.readings];
  if (!chart) return;
  const cursor = canvas.querySelector(".cursor");
  const readout = canvas.closest("figure").querySelector(".readout");
  const span = readings.end - readings.start;
  const moments = [...new Set(chart.flatMap((line) => line.points.map((point) => point[0])))].sort((a, b) => a - b);
  let place = -1;

  function show(t) {
    const share = Math.min(Math.max((t - readings.start) / span, 0), 1) * 100;
    cursor.setAttribute("x1", `${share}%`);
    cursor.setAttribute("x2", `${share}%`);
    cursor.style.visibility = "visible";
    const told = chart.filter((line) => line.points.length).map((line) => {
      const value = valueAt(line.points, t);
      return `${line.label} ${value === null ? "no data" : value}`;
    });
    readout.textContent = `${t.toFixed(2)} s: ${told.join(", ")}`;
  }

  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    show(readings.start + ((event.clientX - box.left) / box.width) * span);
  });
  canvas.addEventListener("pointerleave", () => {
    cursor.style.visibility = "hidden";
    readout.textContent = "";
  });
  canvas.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };
    if (!(event.key in steps) || !moments.length) return;
    event.preventDefault();
    place = Math.min(Math.max(place + steps[event.key], 0), moments.length - 1);
    show(moments[place]);
  });
}

/** Open all that hides the place a link leads to. */
function reveal() {
  const target = document.getElementById(location.hash.slice(1));
  if (!target) return;
  for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
  target.scrollIntoView();
  target.focus({ preventScroll: true });
}

document.querySelectorAll(".canvas").forEach(attach);
window.addEventListener("hashchange", reveal);
window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
reveal();
