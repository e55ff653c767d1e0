import { h, number } from "./dom.js";

const H = 200, LEFT = 36, BOTTOM = 22, TOP = 10, RIGHT = 6;

function nice(max) {
  if (max <= 4) return 4;
  const unit = 10 ** Math.floor(Math.log10(max));
  return [1, 2, 3, 4, 6, 8, 10].map((k) => k * unit).find((v) => v >= max);
}

const label = (t, span) => {
  const d = new Date(t);
  return span > 36 * 3600e3 ? d.toLocaleDateString("en-GB", { day: "numeric", month: "short" })
    : d.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
};

// A line over time with its area, as SVG. points: [[ms, value], …]; name: what is counted, for the legend and readers.
export function lineChart(points, name) {
  const W = Math.max(240, Math.min(1000, (document.getElementById("main")?.clientWidth ?? 640) - 100)); // text keeps its size
  const top = nice(Math.max(...points.map((p) => p[1] ?? 0), 1));
  const from = points[0]?.[0] ?? 0, span = Math.max((points.at(-1)?.[0] ?? 1) - from, 1);
  const x = (t) => LEFT + ((t - from) / span) * (W - LEFT - RIGHT);
  const y = (v) => TOP + (1 - v / top) * (H - TOP - BOTTOM);
  const line = points.map(([t, v], i) => `${i ? "L" : "M"}${x(t).toFixed(1)} ${y(v ?? 0).toFixed(1)}`).join("");
  const total = points.reduce((s, p) => s + (p[1] ?? 0), 0);
  const marks = [0, 0.5, 1].map((k) => [h("line", { class: "grid", x1: LEFT, x2: W - RIGHT, y1: y(top * k), y2: y(top * k) }),
    h("text", { class: "tick", x: LEFT - 6, y: y(top * k) + 4, "text-anchor": "end" }, number(top * k))]);
  const times = (W < 400 ? [0, 0.5, 1] : [0, 0.25, 0.5, 0.75, 1]).map((k) => h("text", {
    class: "tick", x: x(from + span * k), y: H - 5, "text-anchor": k === 0 ? "start" : k === 1 ? "end" : "middle" }, label(from + span * k, span)));
  const dot = h("circle", { class: "dot", r: 4, cx: -10, cy: -10 });
  const readout = h("p", { class: "readout", "aria-live": "off" }, `${number(total)} ${name}`);
  const svg = h("svg", { viewBox: `0 0 ${W} ${H}`, class: "chart", role: "img", tabindex: 0,
    "aria-label": `${name}: ${number(total)} in all, at most ${number(Math.max(...points.map((p) => p[1] ?? 0), 0))} at once. Arrow keys read the points.` },
    marks, times,
    h("path", { class: "area", d: `${line}L${x(from + span).toFixed(1)} ${y(0)}L${LEFT} ${y(0)}Z` }), h("path", { class: "line", d: line }), dot);
  let at = points.length - 1;
  const show = (i) => {
    at = Math.min(Math.max(i, 0), points.length - 1);
    const [t, v] = points[at] ?? [0, 0];
    dot.setAttribute("cx", x(t));
    dot.setAttribute("cy", y(v ?? 0));
    readout.textContent = `${label(t, span)}: ${number(v)} ${name}`;
  };
  const hide = () => {
    dot.setAttribute("cx", -10);
    readout.textContent = `${number(total)} ${name}`;
  };
  svg.addEventListener("pointermove", (e) => {
    const box = svg.getBoundingClientRect();
    show(Math.round((((e.clientX - box.left) / box.width) * W - LEFT) / (W - LEFT - RIGHT) * (points.length - 1)));
  });
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", (e) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
    if (!step) return;
    e.preventDefault();
    readout.setAttribute("aria-live", "polite");
    show(at + step);
  });
  return h("figure", { class: "figure" }, svg, h("figcaption", {}, readout));
}
