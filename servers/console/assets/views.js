import { clock, empty, failed, h, loading, moment, money, number } from "./dom.js";
import { lineChart } from "./chart.js";
import { call, get } from "./net.js";

// A view is fn(root): fills root and returns what to stop when it is left. `load` keeps a panel in one of its states.
function panel(title, what, load, { every, wide } = {}) {
  const body = h("div", { class: "body" }, loading(what));
  const root = h("section", { class: wide ? "panel wide" : "panel", "aria-label": title }, h("h2", {}, title), body);
  let gone = false, timer, shown = false;
  async function run() {
    clearTimeout(timer);
    try {
      const content = await load();
      if (gone) return;
      if (content) body.replaceChildren(...[content].flat());
      root.classList.remove("stale");
      shown = true;
    } catch (error) {
      if (gone) return;
      if (shown) root.classList.add("stale"); // old figures stay, marked as such
      else body.replaceChildren(failed(error, run));
    }
    if (every) timer = setTimeout(run, every);
  }
  run();
  return { root, stop: () => { gone = true; clearTimeout(timer); }, run };
}

const stopAll = (panels) => () => panels.forEach((p) => p.stop());

function table(caption, heads, rows) {
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    h("table", {}, h("caption", { class: "hidden" }, caption),
      h("thead", {}, h("tr", {}, heads.map((t) => h("th", { scope: "col" }, t)))), h("tbody", {}, rows)));
}

function change(now, before) {
  if (!before) return h("small", {}, "nothing in the period before");
  const by = Math.round(((now - before) / before) * 100);
  if (by >= 1000) return h("small", { class: "up" }, `▲ ${Math.round(now / before)} times the period before`);
  return h("small", { class: by < 0 ? "down" : "up" }, `${by < 0 ? "▼" : "▲"} ${Math.abs(by)} % on the period before`);
}

const card = (id, name, value, note) => h("div", { class: "card", id: `total-${id}` }, h("span", { class: "name" }, name), h("span", { class: "value" }, value), note);

function bars(list, name, hint) {
  if (!list.length) return empty("Nothing yet", hint);
  const most = Math.max(...list.map((r) => r.count));
  return h("ol", { class: "bars" }, list.map((r) => h("li", {},
    h("span", { class: "what", title: String(r[name]) }, String(r[name] ?? "–")), h("span", { class: "count" }, number(r.count)),
    h("meter", { min: 0, max: most, value: r.count, "aria-hidden": "true" }))));
}

const RANGES = [["1h", "1 hour"], ["24h", "24 hours"], ["7d", "7 days"], ["all", "All time"]];

export function dashboard(root, { range = "1h" } = {}) {
  const url = `/api/v1/analytics/dashboard?range=${encodeURIComponent(range)}`;
  let board = get(url), fresh = true;
  const latest = () => {
    if (!fresh) board = get(url);
    fresh = false;
    return board;
  };
  const totals = panel("Totals", "totals", async () => {
    const b = await latest();
    top.run(); paths.run(); series.run();
    const revenue = b.revenue.length ? b.revenue.map((r) => h("span", { class: b.revenue.length > 1 ? "each" : null }, money(r))) : "–";
    return h("div", { class: "cards" },
      card("events", "Events", number(b.totals.events), change(b.totals.events, b.totals.previous.events)),
      card("users", "Users", number(b.totals.users), change(b.totals.users, b.totals.previous.users)),
      card("confirmed", "Orders confirmed", number(b.orders.confirmed), h("small", {}, `${number(b.orders.created)} placed, ${number(b.orders.cancelled)} cancelled`)),
      card("revenue", "Revenue", revenue, h("small", {}, "captured payments")));
  }, { every: 3000, wide: true });
  const series = panel(range === "1h" ? "Events a minute, last hour" : "Events over time", "the chart", async () => {
    const b = await board;
    if (series.root.querySelector("svg:hover, svg:focus")) return null; // somebody is reading it
    return b.totals.events ? lineChart(b.series.map((p) => [p.t, p.events]), "events")
      : empty("No events in this time", "Send one with nexus ingest, or place an order: it appears within a second.");
  }, { wide: true });
  const top = panel("Top events", "events", async () => bars((await board).top_events, "event", "Events are listed as they come."));
  const paths = panel("Top pages", "pages", async () => bars((await board).top_paths, "path", "Events with properties.path count here."));
  const tail = eventsPanel({ rows: 8, title: "Latest events" });
  const pick = h("div", { class: "pick", role: "group", "aria-label": "Time range" },
    RANGES.map(([value, text]) => h("a", { href: `#/dashboard?range=${value}`, "aria-current": value === range ? "true" : null }, text)));
  root.append(h("header", { class: "head" }, h("h1", {}, "Dashboard"), pick), h("div", { class: "grid" }, totals.root, series.root, top.root, paths.root, tail.root));
  return stopAll([totals, series, top, paths, tail]);
}

// Events as they come, over server-sent events; EventSource reconnects by itself.
function eventsPanel({ rows, title, filter }) {
  const list = h("tbody", {});
  const note = h("p", { class: "note", role: "status" }, "Connecting …");
  const pause = h("button", { type: "button", "aria-pressed": "false" }, "Pause");
  const drawer = h("pre", { class: "drawer", hidden: true, tabindex: 0, "aria-label": "The event as JSON" });
  let paused = false, held = 0, closed = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    held = 0;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Resume" : "Pause";
    note.textContent = paused ? "Paused" : "Live";
  });
  const body = h("div", { class: "body" }, h("div", { class: "bar" }, note, pause),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": title }, h("table", { class: "events" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Received"), h("th", { scope: "col" }, "Event"), h("th", { scope: "col" }, "User"), h("th", { scope: "col" }, "Details"))), list)), drawer);
  const root = h("section", { class: "panel wide", "aria-label": title }, h("h2", {}, title), body);
  const summary = (e) => Object.entries(e.properties ?? {}).filter(([, v]) => typeof v !== "object").slice(0, 4).map(([k, v]) => `${k}: ${v}`).join("  ");
  function add(e) {
    const open = () => {
      drawer.hidden = false;
      drawer.textContent = JSON.stringify(e, null, 2);
    };
    const row = h("tr", { tabindex: 0, class: "row", onclick: open, onkeydown: (k) => k.key === "Enter" && open() },
      h("td", {}, clock(e.received_at)), h("td", {}, h("span", { class: "tag" }, e.event)), h("td", { class: "cut" }, e.user_id ?? e.anonymous_id ?? "–"), h("td", { class: "cut muted" }, summary(e)));
    row.dataset.event = e.event;
    row.hidden = Boolean(filter?.value) && !JSON.stringify(e).toLowerCase().includes(filter.value.toLowerCase());
    list.prepend(row);
    while (list.children.length > rows) list.lastChild.remove();
  }
  const source = new EventSource("/live");
  source.addEventListener("open", () => { if (!paused) note.textContent = "Live"; root.classList.remove("stale"); });
  source.addEventListener("sample", (m) => {
    if (paused) note.textContent = `Paused, ${++held} more`;
    else add(JSON.parse(m.data));
  });
  source.addEventListener("gap", (m) => list.prepend(h("tr", { class: "gap" }, h("td", { colspan: 4 }, `${number(JSON.parse(m.data).missed)} events were passed over`))));
  source.addEventListener("refused", () => { note.textContent = "Your account may not see events: the operator role is needed."; source.close(); });
  source.addEventListener("error", () => { if (!closed) { note.textContent = "Connection lost, trying again …"; root.classList.add("stale"); } });
  return { root, stop: () => { closed = true; source.close(); } };
}

export function events(root) {
  const filter = h("input", { type: "search", id: "filter", placeholder: "Filter (press /)", "aria-label": "Filter the events shown", autocomplete: "off" });
  const live = eventsPanel({ rows: 200, title: "Live events", filter });
  filter.addEventListener("input", () => live.root.querySelectorAll("tr.row").forEach((r) => {
    r.hidden = Boolean(filter.value) && !r.textContent.toLowerCase().includes(filter.value.toLowerCase());
  }));
  root.append(h("header", { class: "head" }, h("h1", {}, "Events"), filter), h("div", { class: "grid" }, live.root));
  return live.stop;
}

export function mailbox(root) {
  const reader = h("section", { class: "panel wide reader", "aria-label": "Message", "aria-live": "polite" }, h("h2", {}, "Message"), h("div", { class: "body" }, empty("No message chosen", "Choose one from the list.")));
  async function open(id, row) {
    root.querySelectorAll("tr[aria-selected]").forEach((r) => r.removeAttribute("aria-selected"));
    row.setAttribute("aria-selected", "true");
    const body = reader.querySelector(".body");
    body.replaceChildren(loading("the message"));
    try {
      const m = await get(`/api/v1/notifications/mailbox/${encodeURIComponent(id)}`);
      body.replaceChildren(h("dl", {}, h("dt", {}, "To"), h("dd", {}, [m.to].flat().join(", ")), h("dt", {}, "Subject"), h("dd", {}, m.subject ?? "–"), h("dt", {}, "Captured"), h("dd", {}, moment(m.at))),
        h("pre", { class: "mail", tabindex: 0 }, m.text ?? m.message ?? ""));
    } catch (error) {
      body.replaceChildren(failed(error, () => open(id, row)));
    }
  }
  const list = panel("Captured mail", "the mailbox", async () => {
    const mails = (await get("/api/v1/notifications/mailbox?limit=100")).items;
    if (!mails.length) return empty("The mailbox is empty", "Without an SMTP server, development mail is captured here instead of being sent.");
    const chosen = root.querySelector("tr[aria-selected]")?.dataset.id;
    return table("Captured mail", ["At", "To", "Subject"], mails.map((m) => {
      const row = h("tr", { tabindex: 0, class: "row", "aria-selected": m.id === chosen ? "true" : null, onclick: () => open(m.id, row), onkeydown: (k) => k.key === "Enter" && open(m.id, row) },
        h("td", {}, moment(m.at)), h("td", { class: "cut" }, [m.to].flat().join(", ")), h("td", { class: "cut" }, m.subject ?? "–"));
      row.dataset.id = m.id;
      return row;
    }));
  }, { every: 5000, wide: true });
  root.append(h("header", { class: "head" }, h("h1", {}, "Mailbox")), h("div", { class: "grid" }, list.root, reader));
  return list.stop;
}

const mark = (state) => h("span", { class: `mark ${state.replace(/\W/g, "-")}` }, state);

export function notifications(root) {
  const list = panel("Notifications", "notifications", async () => {
    const items = (await get("/api/v1/notifications?limit=100")).items;
    if (!items.length) return empty("No notifications yet", "They appear when an order is confirmed or cancelled, or a program sends one.");
    return table("Notifications", ["At", "Status", "Deliveries", "Id"], items.map((n) => h("tr", {},
      h("td", {}, moment(n.created_at ?? n.at)), h("td", {}, mark(String(n.status))),
      h("td", {}, (n.deliveries ?? []).map((d) => h("div", { class: "delivery" }, mark(String(d.status)), ` ${d.channel} to ${d.to}${d.attempts?.length ? `, ${d.attempts.length} attempt${d.attempts.length === 1 ? "" : "s"}` : ""}`))),
      h("td", { class: "cut muted" }, n.id))));
  }, { every: 5000, wide: true });
  root.append(h("header", { class: "head" }, h("h1", {}, "Notifications")), h("div", { class: "grid" }, list.root));
  return list.stop;
}

export function health(root) {
  const list = panel("Services", "service health", async () => {
    const { services } = await get("/status");
    const down = services.filter((s) => s.state !== "ready");
    return [h("p", { class: "note", role: "status" }, down.length ? `${down.map((s) => s.name).join(", ")}: not ready` : "All six services are ready."),
      h("ul", { class: "services" }, services.map((s) => h("li", { class: "service" }, h("strong", {}, s.name), mark(s.state),
        h("small", {}, `port ${s.port}${s.ms === undefined ? "" : `, ${s.ms} ms`}`), s.reason && h("small", { class: "down" }, s.reason))))];
  }, { every: 4000, wide: true });
  root.append(h("header", { class: "head" }, h("h1", {}, "Health")), h("div", { class: "grid" }, list.root));
  return list.stop;
}

const EXAMPLES = ["How many orders were confirmed today?", "Revenue this month", "Top 5 pages of all time", "Page views per hour today"];

export function ask(root) {
  const log = h("div", { class: "talk", role: "log", "aria-label": "Questions and answers" }, empty("Ask about the business", "Answers come from the analytics, with the query they came from."));
  const input = h("input", { id: "question", name: "question", required: true, maxlength: 2000, autocomplete: "off", placeholder: EXAMPLES[0], "aria-label": "Your question" });
  const send = h("button", { class: "primary" }, "Ask");
  let conversation;
  async function put(question) {
    log.querySelector(".empty")?.remove();
    const answer = h("div", { class: "answer" }, loading("the answer"));
    log.append(h("p", { class: "asked" }, question), answer);
    send.disabled = true;
    try {
      const a = await call("POST", "/api/v1/copilot/chat", { message: question, ...(conversation && { conversation_id: conversation }) });
      conversation = a.conversation_id;
      answer.replaceChildren(h("p", {}, a.answer), ...(a.chart?.points?.length ? [lineChart(a.chart.points, a.chart.title)] : []),
        ...(a.citations ?? []).map((c) => h("details", {}, h("summary", {}, "Where this comes from"), h("pre", { tabindex: 0 }, JSON.stringify(c, null, 2)))));
    } catch (error) {
      answer.replaceChildren(failed(error));
    }
    send.disabled = false;
    answer.scrollIntoView({ block: "nearest" });
  }
  const form = h("form", { class: "askbar", onsubmit: (e) => { e.preventDefault(); const q = input.value.trim(); input.value = ""; if (q) put(q); } }, input, send);
  root.append(h("header", { class: "head" }, h("h1", {}, "Ask")), h("section", { class: "panel wide" }, log, form,
    h("div", { class: "chips" }, EXAMPLES.map((q) => h("button", { type: "button", onclick: () => put(q) }, q)))));
  input.focus();
  return () => {};
}
