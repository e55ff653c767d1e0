// Elements without markup in strings: nothing that comes from data is ever parsed as HTML.
const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "path", "line", "text", "g", "rect", "circle", "title"]);

export function h(tag, props, ...children) {
  const el = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) el.addEventListener(name.slice(2), value);
    else if (value === true) el.setAttribute(name, "");
    else el.setAttribute(name, value);
  }
  el.append(...children.flat(3).filter((c) => c !== null && c !== undefined && c !== false));
  return el;
}

export const number = (n) => (n === null || n === undefined ? "–" : Number(n).toLocaleString("en"));

export function money({ amount, currency }) {
  try {
    return new Intl.NumberFormat("en", { style: "currency", currency }).format(amount / 100);
  } catch {
    return `${(amount / 100).toFixed(2)} ${currency ?? ""}`;
  }
}

export function clock(iso) {
  const d = new Date(iso);
  return Number.isNaN(d.getTime()) ? "–" : d.toLocaleTimeString("en-GB");
}

export function moment(iso) {
  const d = new Date(iso);
  return Number.isNaN(d.getTime()) ? "–" : d.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
}

// The states every panel has besides its content.
export const loading = (what) => h("p", { class: "state", role: "status" }, h("span", { class: "spinner", "aria-hidden": "true" }), `Loading ${what} …`);
export const empty = (title, hint) => h("div", { class: "state empty" }, h("strong", {}, title), hint && h("span", {}, hint));
export const failed = (error, retry) =>
  h("div", { class: "state failed", role: "alert" }, h("strong", {}, "This could not be loaded."), h("span", {}, error.message),
    retry && h("button", { type: "button", onclick: retry }, "Try again"));
