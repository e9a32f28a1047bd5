// A headless browser, and what must hold for every page in it: nothing on its console, and no request beyond the page itself.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

export const PAGES = process.env.PAGES;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

// As root, which CI often is, Chromium has no sandbox; the pages are our own.
export const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });

/** Opens an address; `allowed` says which requests may be made. */
export async function open(address, { scheme = "light", width = 1440, height = 900, allowed = () => false } = {}) {
  const context = await browser.newContext({ colorScheme: scheme, viewport: { width, height }, reducedMotion: "reduce" });
  const page = await context.newPage();
  page.said = [];
  page.asked = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && page.said.push(message.text()));
  page.on("pageerror", (error) => page.said.push(String(error)));
  page.on("request", (request) => {
    const own = request.url() === address || request.url().startsWith("data:") || allowed(request.url());
    if (!own) page.asked.push(request.url());
  });
  await page.goto(address);
  await drawn(page);
  return page;
}

export const file = (name, options) => open(`file://${join(PAGES, name)}`, options);

/** Waits until all plots are drawn. */
export async function drawn(page) {
  await page.waitForFunction(() => document.documentElement.dataset.drawn === "true" && [...document.querySelectorAll("figure.plot .area")].every((area) => area.clientWidth === 0 || area.querySelector("svg")), null, { timeout: 60_000 });
}

/** Closes a page that must have been quiet. */
export async function close(page) {
  assert.deepEqual({ said: page.said, asked: page.asked }, { said: [], asked: [] });
  await page.context().close();
}

/** What axe finds that keeps people out; in some elements it does not look. */
export async function barriers(page, exclude = []) {
  await page.evaluate(axe);
  const found = await page.evaluate((exclude) => axe.run({ include: [["html"]], exclude: exclude.map((one) => [one]) }, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] }), exclude);
  const serious = found.violations.filter((one) => ["serious", "critical"].includes(one.impact));
  return serious.map((one) => `${one.id}: ${one.help}: ${one.nodes.slice(0, 3).map((node) => `${node.target} ${node.failureSummary}`).join("; ")}`);
}
