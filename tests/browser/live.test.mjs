// Pages as `serve` serves them, while a run goes on.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { barriers, browser, close, open } from "./browser.mjs";

const running = [];
after(async () => {
  running.forEach((child) => child.kill("SIGKILL"));
  await browser.close();
});

const folder = mkdtempSync(join(tmpdir(), "talkflow-live-"));
const go = join(folder, "go");
// Each stage waits until the test lets it go on.
const wait = (name) => `    command: { run: 'until [ -e "$GO.${name}" ]; do sleep 0.05; done; echo "${name} went"', env: { GO: "\${env.GO}" }`;
writeFileSync(join(folder, "m.yaml"), `talkflow: 1\nname: live\nstages:\n  first:\n${wait("first")} }\n  second:\n${wait("second")}, inputs: { first: first } }\n`);

function talkflow(...args) {
  const child = spawn(process.env.TALKFLOW, args, { cwd: folder, env: { ...process.env, GO: go, HOME: folder }, stdio: ["ignore", "pipe", "ignore"] });
  // Listened for from the beginning: it may end before anybody asks.
  child.ended = new Promise((resolve) => child.on("exit", (code, signal) => resolve(code ?? signal)));
  running.push(child);
  return child;
}

const text = (child) => new Promise((resolve) => child.stdout.once("data", (data) => resolve(String(data))));

test("a page follows its run without being asked to", async () => {
  // Something has to have made the store.
  writeFileSync(join(folder, "go.before"), "");
  writeFileSync(join(folder, "before.yaml"), `talkflow: 1\nname: before\nstages:\n  before:\n${wait("before")} }\n`);
  assert.equal(await talkflow("run", "before.yaml").ended, 0);
  const server = talkflow("serve", "m.yaml", "--port", "0");
  const address = (await text(server)).trim();
  const allowed = (url) => url.startsWith(address);
  const context = await browser.newContext();
  const page = await context.newPage();
  page.said = [];
  page.asked = [];
  page.on("pageerror", (error) => page.said.push(String(error)));
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && page.said.push(message.text()));
  page.on("request", (request) => allowed(request.url()) || request.url().startsWith("data:") || page.asked.push(request.url()));
  await page.goto(address);
  await page.getByText("No run yet").waitFor();
  const run = talkflow("run", "m.yaml");
  // The page finds it by itself.
  await page.locator("#stages-0.running").waitFor({ timeout: 60_000 });
  assert.match(await page.locator(".live").innerText(), /live/);
  await page.locator("#stages-1.pending").waitFor({ timeout: 60_000 });
  assert.deepEqual(await barriers(page), []);
  writeFileSync(`${go}.first`, "");
  await page.locator("#stages-0.ran").waitFor({ timeout: 60_000 });
  await page.locator("#stages-1.running").waitFor({ timeout: 60_000 });
  writeFileSync(`${go}.second`, "");
  await page.locator("#stages-1.ran").waitFor({ timeout: 60_000 });
  assert.equal(await run.ended, 0);
  await page.locator(".outcome.done").waitFor({ timeout: 60_000 });
  // What the stage said has come too.
  await page.locator("#stages-0").click();
  await page.locator("pre.log", { hasText: "first went" }).waitFor({ timeout: 60_000 });
  await close(page);
  // A second client, of the same page by its name.
  const beside = await open(`${address}run/${(await (await fetch(`${address}runs.json`)).json())[0]}`, { allowed });
  assert.equal(await beside.locator("g.box.ran").count(), 2);
  server.kill("SIGTERM");
  assert.equal(await server.ended, 0);
  await beside.locator(".live.off").waitFor({ timeout: 60_000 });
  // That the server has gone is all that the console says.
  beside.said = beside.said.filter((line) => !/ERR_|Failed to load/.test(line));
  await close(beside);
});
