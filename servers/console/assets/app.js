import { h } from "./dom.js";
import { call, get, whenUnsigned } from "./net.js";
import { ask, dashboard, events, health, mailbox, notifications } from "./views.js";

const VIEWS = { dashboard: ["Dashboard", dashboard, "d"], events: ["Events", events, "e"], notifications: ["Notifications", notifications, "n"],
  mailbox: ["Mailbox", mailbox, "m"], health: ["Health", health, "h"], ask: ["Ask", ask, "a"] };
const app = document.getElementById("app");
let stop = () => {};
let user = null;

function route() {
  const [name, query] = location.hash.replace(/^#\/?/, "").split("?");
  return [VIEWS[name] ? name : "dashboard", Object.fromEntries(new URLSearchParams(query ?? ""))];
}

function signIn(message) {
  stop();
  stop = () => {};
  user = null;
  document.title = "Sign in · Nexus console";
  const note = h("p", { class: "error", role: "alert" }, message ?? "");
  const button = h("button", { class: "primary" }, "Sign in");
  const form = h("form", { class: "signin", onsubmit: async (e) => {
    e.preventDefault();
    note.textContent = "";
    button.disabled = true;
    button.textContent = "Signing in …";
    try {
      const answer = await call("POST", "/session", { email: form.email.value, password: form.password.value });
      if (answer.mfa_required) return secondStep(answer.mfa_token);
      user = answer.user;
      shell();
    } catch (error) {
      note.textContent = error.status === 401 ? "That address and password do not belong together." : error.message;
      button.disabled = false;
      button.textContent = "Sign in";
      form.password.select();
    }
  } }, h("div", { class: "brand" }, h("span", { class: "logo", "aria-hidden": "true" }, "N"), "Nexus"), h("h1", {}, "Sign in"),
    h("label", {}, "E-mail", h("input", { name: "email", type: "email", required: true, autocomplete: "username", maxlength: 320 })),
    h("label", {}, "Password", h("input", { name: "password", type: "password", required: true, autocomplete: "current-password", maxlength: 1024 })),
    note, button, h("p", { class: "hint" }, "No account yet? The start script prints a one-time token for the first administrator."));
  app.replaceChildren(h("main", { class: "gate" }, form));
  form.email.focus();
}

function secondStep(token) {
  const note = h("p", { class: "error", role: "alert" });
  const button = h("button", { class: "primary" }, "Go on");
  const form = h("form", { class: "signin", onsubmit: async (e) => {
    e.preventDefault();
    note.textContent = "";
    button.disabled = true;
    try {
      user = (await call("POST", "/session/second", { mfa_token: token, code: form.code.value.trim() })).user;
      shell();
    } catch (error) {
      note.textContent = error.message;
      button.disabled = false;
      form.code.select();
    }
  } }, h("div", { class: "brand" }, h("span", { class: "logo", "aria-hidden": "true" }, "N"), "Nexus"), h("h1", {}, "Second step"),
    h("label", {}, "Code of your authenticator, or a recovery code", h("input", { name: "code", required: true, autocomplete: "one-time-code", maxlength: 64 })),
    note, button, h("button", { type: "button", onclick: () => signIn() }, "Back"));
  app.replaceChildren(h("main", { class: "gate" }, form));
  form.code.focus();
}

function show() {
  const [name, params] = route();
  stop();
  stop = () => {};
  const main = document.getElementById("main");
  if (!main) return;
  main.replaceChildren();
  document.title = `${VIEWS[name][0]} · Nexus console`;
  document.querySelectorAll("nav a").forEach((a) => (a.dataset.view === name ? a.setAttribute("aria-current", "page") : a.removeAttribute("aria-current")));
  stop = VIEWS[name][1](main, params);
}

function shell() {
  const links = Object.entries(VIEWS).map(([name, [title]]) => {
    const a = h("a", { href: `#/${name}` }, title);
    a.dataset.view = name;
    return a;
  });
  const leave = h("button", { type: "button", onclick: async () => { await call("DELETE", "/session").catch(() => {}); signIn(); } }, "Sign out");
  app.replaceChildren(h("a", { class: "skip", href: "#main" , onclick: (e) => { e.preventDefault(); document.getElementById("main").focus(); } }, "Skip to content"),
    h("div", { class: "frame" },
      h("aside", {}, h("div", { class: "brand" }, h("span", { class: "logo", "aria-hidden": "true" }, "N"), "Nexus"),
        h("nav", { "aria-label": "Pages" }, links),
        h("div", { class: "who" }, h("span", { class: "cut", title: user.email }, user.email), leave)),
      h("main", { id: "main", tabindex: -1 })));
  if (!(user.roles ?? []).some((r) => r === "operator" || r === "admin"))
    document.getElementById("main").before(h("p", { class: "banner", role: "status" }, "Your account has no operator role: most pages stay empty."));
  show();
}

const help = h("dialog", { id: "help", "aria-label": "Keyboard" }, h("h2", {}, "Keyboard"),
  h("dl", {}, Object.values(VIEWS).flatMap(([title, , key]) => [h("dt", {}, h("kbd", {}, "g"), " ", h("kbd", {}, key)), h("dd", {}, title)]),
    h("dt", {}, h("kbd", {}, "j"), " ", h("kbd", {}, "k")), h("dd", {}, "Next, previous row"), h("dt", {}, h("kbd", {}, "/")), h("dd", {}, "Filter"), h("dt", {}, h("kbd", {}, "?")), h("dd", {}, "This list")),
  h("form", { method: "dialog" }, h("button", { class: "primary" }, "Close")));
document.body.append(help);

let waiting = false;
document.addEventListener("keydown", (e) => {
  if (!user || e.ctrlKey || e.metaKey || e.altKey || e.target.closest("input, textarea, dialog")) return;
  if (waiting) {
    waiting = false;
    const name = Object.keys(VIEWS).find((n) => VIEWS[n][2] === e.key);
    if (name) location.hash = `#/${name}`;
  } else if (e.key === "g") {
    waiting = true;
  } else if (e.key === "?") {
    help.showModal();
  } else if (e.key === "/") {
    const field = document.querySelector("main input");
    if (field) { e.preventDefault(); field.focus(); }
  } else if (e.key === "j" || e.key === "k") {
    const rows = [...document.querySelectorAll("main tr.row:not([hidden])")];
    const at = rows.indexOf(document.activeElement);
    rows[Math.min(Math.max(at + (e.key === "j" ? 1 : -1), 0), rows.length - 1)]?.focus();
  }
});

window.addEventListener("hashchange", () => user && show());
whenUnsigned(() => user && signIn("Your session has ended. Sign in again."));
get("/session").then((s) => { user = s.user; user ? shell() : signIn(); }, (error) => signIn(error.message));
