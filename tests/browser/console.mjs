// Drives the console in a real Chromium: node console.mjs URL EMAIL PASSWORD SCREENSHOT_DIR. Prints one JSON object with
// what it saw; what is right or wrong is said by tests/system/test_console.py.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { chromium } from "playwright-core";

const [url, email, password, shots] = process.argv.slice(2);
const axe = fs.readFileSync(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const seen = { requests: [], problems: [], console: [], axe: [], pages: {} };
fs.mkdirSync(shots, { recursive: true });

const profile = fs.mkdtempSync(path.join(os.tmpdir(), "nexus-chromium-"));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  colorScheme: "light",
  viewport: { width: 1280, height: 900 },
});
await context.addInitScript({ content: axe }); // by the debugger: the page's own policy forbids evaluation
const page = context.pages()[0] ?? (await context.newPage());
page.on("request", (r) => seen.requests.push(r.url()));
page.on("pageerror", (e) => seen.problems.push(String(e)));
page.on("console", (m) => m.type() === "error" && seen.console.push(m.text()));

const check = async (name) => {
  const found = await page.evaluate(async () => {
    const { violations } = await window.axe.run(document, { resultTypes: ["violations"] });
    return violations.filter((v) => ["serious", "critical"].includes(v.impact)).map((v) => `${v.id}: ${v.nodes.map((n) => `${n.target} ${n.failureSummary}`).slice(0, 2).join(" | ")}`);
  }).catch((e) => [`axe did not run: ${e}`]);
  seen.axe.push(...found.map((f) => `${name}: ${f}`));
};
const shoot = async (name) => {
  for (const scheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme: scheme });
    await page.screenshot({ path: path.join(shots, `${name}-${scheme}.png`), fullPage: true });
    await check(`${name}-${scheme}`);
  }
  await page.emulateMedia({ colorScheme: "light" });
};

await page.goto(url);
await page.waitForSelector("form.signin");
await shoot("sign-in");
await page.fill("[name=email]", email);
await page.fill("[name=password]", "wrong " + password);
await page.click("form.signin button");
await page.waitForSelector(".error:not(:empty)");
seen.pages.refused = await page.textContent(".error");
seen.console = seen.console.filter((t) => !t.includes("401")); // Chromium notes the refusal that was asked for
await page.fill("[name=password]", password);
await page.press("[name=password]", "Enter");

await page.waitForSelector("#total-events .value");
await page.waitForSelector("svg.chart path.line");
await page.waitForSelector("tr.row");
seen.pages.totals = await page.$$eval(".card", (cards) => Object.fromEntries(cards.map((c) => [c.id.replace("total-", ""), c.querySelector(".value").textContent])));
seen.pages.tail = await page.$$eval("tr.row", (rows) => rows.map((r) => r.dataset.event));
seen.pages.chart = await page.getAttribute("svg.chart", "aria-label");
await shoot("dashboard");

console.error("READY"); // the test sends an event now; the page must show it by itself
await page.waitForSelector('tr.row[data-event="browser.test"]', { timeout: 20000 });
seen.pages.live = true;

for (const [name, ready] of [["events", "tr.row"], ["notifications", ".panel table, .panel .empty"], ["mailbox", ".panel table, .panel .empty"], ["health", ".service"]]) {
  await page.keyboard.press("g");
  await page.keyboard.press(name[0]);
  await page.waitForSelector(ready);
  await page.waitForSelector(`nav a[data-view=${name}][aria-current=page]`);
  if (name === "mailbox" && (await page.$("tr.row"))) {
    await page.click("tr.row");
    await page.waitForSelector("pre.mail");
    seen.pages.mail = await page.textContent("pre.mail");
  }
  await shoot(name);
}
seen.pages.health = await page.$$eval(".service", (list) => Object.fromEntries(list.map((s) => [s.querySelector("strong").textContent, s.querySelector(".mark").textContent])));

await page.keyboard.press("g");
await page.keyboard.press("a");
await page.fill("#question", "how many events today?");
await page.press("#question", "Enter");
await page.waitForSelector(".answer > p:not(.state)");
seen.pages.answer = await page.textContent(".answer > p");
await shoot("ask");

await page.keyboard.press("Escape");
await page.setViewportSize({ width: 320, height: 640 });
await page.goto(`${url}#/dashboard`);
await page.waitForSelector("svg.chart path.line");
seen.pages.overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
await page.screenshot({ path: path.join(shots, "dashboard-320.png"), fullPage: true });

seen.cookies = await context.cookies();
seen.scriptCookies = await page.evaluate(() => document.cookie);
seen.storage = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]));
await page.click("text=Sign out");
await page.waitForSelector("form.signin");
seen.pages.after = (await page.request.get(`${url}status`)).status();
await context.close();
fs.rmSync(profile, { recursive: true, force: true });
console.log(JSON.stringify(seen));
