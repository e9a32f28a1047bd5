// Pages as `report` writes them.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { barriers, browser, close, drawn, file } from "./browser.mjs";

after(() => browser.close());

const marks = (page, section) => page.locator(`#${section} figure.plot svg[role=img]`).evaluateAll((plots) => plots.map((plot) => plot.querySelectorAll("path, circle, rect, line").length));

for (const scheme of ["light", "dark"]) {
  for (const width of [1440, 390]) {
    test(`a run is drawn, quiet, and open to all: ${scheme}, ${width} px`, async () => {
      const page = await file("run.html", { scheme, width });
      assert.equal(await page.locator("#pipeline svg.graph g.box").count(), 6);
      assert.ok((await page.locator("#pipeline svg.graph .edges path").count()) >= 8);
      for (const [section, least] of [["comparisons", 1], ["effects", 1], ["likeness", 2], ["curves", 3], ["cost", 3], ["monitors", 3]]) {
        const counts = await marks(page, section);
        assert.ok(counts.length >= least && counts.every((count) => count > 3), `${section}: ${counts}`);
      }
      assert.ok((await page.locator("#results tbody tr").count()) >= 2);
      assert.match(await page.locator("#provenance").innerText(), /talkflow run run\.yaml/);
      assert.deepEqual(await barriers(page), []);
      // Nothing but tables scrolls sideways.
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= document.documentElement.clientWidth));
      await page.locator("#stages-4").click();
      assert.deepEqual(await barriers(page), []);
      await close(page);
    });
  }
}

test("the colours follow the reader's choice, and back", async () => {
  const page = await file("run.html", { scheme: "dark" });
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await ground();
  await page.locator("#theme").click();
  assert.notEqual(await ground(), dark);
  await page.locator("#theme").click();
  assert.equal(await ground(), dark);
  await close(page);
});

test("all of it works from the keyboard", async () => {
  const page = await file("run.html");
  const focus = () => page.evaluate(() => document.activeElement.id || document.activeElement.textContent);
  await page.keyboard.press("Tab");
  assert.equal(await focus(), "Skip to the content");
  assert.ok(await page.locator(".skip").evaluate((link) => link.getBoundingClientRect().left >= 0), "the link is seen once it has the focus");
  for (let n = 0; n < 40 && (await focus()) !== "stages-4"; n += 1) await page.keyboard.press("Tab");
  assert.equal(await focus(), "stages-4");
  const [own, other] = await Promise.all(["4", "3"].map((at) => page.locator(`#stages-${at} .frame`).evaluate((frame) => getComputedStyle(frame).strokeWidth)));
  assert.ok(parseFloat(own) > parseFloat(other) + 1, `the focus is seen: ${own}, ${other}`);
  await page.keyboard.press("Enter");
  assert.equal(await page.locator("dialog[open] #detail-title").innerText(), "student");
  // To the first instance, and to what is known of it.
  for (let n = 0; n < 12 && !(await focus()).startsWith("student["); n += 1) await page.keyboard.press("Tab");
  const name = await focus();
  await page.keyboard.press("Enter");
  assert.equal(await page.locator("#detail-title").innerText(), name);
  const body = await page.locator("dialog .body").innerText();
  assert.match(body, /[0-9a-f]{64}/);
  assert.match(body, /optimizer\.adam\.rate/);
  assert.match(body, /Log\s/);
  await page.keyboard.press("Escape");
  assert.equal(await page.locator("dialog[open]").count(), 0);
  assert.equal(await focus(), "stages-4");
  // Zoom, by keys and by a button.
  const scale = () => page.locator("svg.graph > g").evaluate((layer) => layer.transform.baseVal.consolidate()?.matrix.a ?? 1);
  await page.keyboard.press("+");
  const zoomed = await scale();
  assert.ok(zoomed > 1.2, `${zoomed}`);
  await page.locator("button[aria-label='Zoom in']").press("Enter");
  assert.ok((await scale()) > zoomed);
  await page.locator("button[aria-label='Show all of it']").press("Enter");
  assert.equal(await scale(), 1);
  await close(page);
});

test("a table is sorted by each of its columns, both ways", async () => {
  const page = await file("run.html");
  const head = page.locator("#cost-table thead th").nth(2);
  const values = () => page.locator("#cost-table tbody tr").evaluateAll((rows) => rows.map((row) => row.cells[2].textContent));
  await head.locator("button").focus();
  await page.keyboard.press("Enter");
  assert.equal(await head.getAttribute("aria-sort"), "ascending");
  const up = await values();
  await page.keyboard.press("Enter");
  assert.equal(await head.getAttribute("aria-sort"), "descending");
  const number = (text) => parseFloat(text) * ({ k: 1e3, M: 1e6 }[text.split(" ")[1]] ?? 1);
  const sorted = [...up].sort((a, b) => number(a) - number(b));
  assert.deepEqual(up.map(number), sorted.map(number));
  assert.deepEqual((await values()).map(number), sorted.map(number).reverse());
  await close(page);
});

test("choices change what is drawn", async () => {
  const page = await file("run.html");
  await page.locator("#graph").selectOption("instances");
  assert.equal(await page.locator("svg.graph g.box").count(), await page.evaluate(() => JSON.parse(document.getElementById("page").textContent).instances.length));
  const before = await page.locator("#curves figure").first().innerHTML();
  const options = await page.locator("#curve option").allTextContents();
  assert.ok(options.length > 2, options.join());
  await page.locator("#curve").selectOption(options[1]);
  await drawn(page);
  assert.notEqual(await page.locator("#curves figure").first().innerHTML(), before);
  await close(page);
});

test("on paper everything is there, in light colours, within the page", async () => {
  const page = await file("run.html", { scheme: "dark", width: 794, height: 1123 });
  await page.emulateMedia({ media: "print" });
  assert.equal(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), "rgb(255, 255, 255)");
  for (const hidden of ["nav", ".zoom", "#theme", ".choice"]) assert.equal(await page.locator(hidden).first().isVisible(), false, hidden);
  const wide = await page.locator("figure.plot svg[role=img], svg.graph").evaluateAll((all) => all.map((one) => one.getBoundingClientRect()).filter((box) => box.right > innerWidth + 1).length);
  assert.equal(wide, 0);
  const pdf = await page.pdf({ format: "A4" });
  assert.ok(pdf.length > 20_000 && pdf.subarray(0, 4).toString() === "%PDF");
  await close(page);
});

test("a sweep of a thousand points opens in under two seconds", async () => {
  const times = [];
  for (let n = 0; n < 5; n += 1) {
    const page = await file("thousand.html");
    // From the beginning of the navigation until every section is drawn; what the machine does beside it counts for the best of five only.
    times.push(await page.evaluate(() => performance.getEntriesByName("drawn").at(-1).startTime));
    if (n === 0) {
      const shown = await page.evaluate(() => JSON.parse(document.getElementById("page").textContent));
      assert.equal(shown.sweep.points.length, 1000);
      assert.ok(shown.instances.length > 2000);
      assert.ok((await marks(page, "sweep")).every((count) => count > 300));
      assert.deepEqual(await barriers(page, [".area"]), []);
      await page.locator("#sweep details summary").click();
      await page.locator("#sweep details .more").click();
      assert.equal(await page.locator("#points-table tbody tr").count(), 1000);
    }
    await close(page);
  }
  console.log(`a thousand points: ${times.map((time) => `${Math.round(time)} ms`).join(", ")}`);
  assert.ok(Math.min(...times) < 2000, times.join());
});

test("what stages printed is text", async () => {
  const page = await file("hostile.html");
  await page.locator("#stages-0").click();
  const body = await page.locator("dialog .body").innerText();
  assert.match(body, /<\/script><script>window\.hurt = 1<\/script>/);
  assert.match(await page.locator("#detail-title").innerText(), /<img src onerror>/);
  await page.keyboard.press("Escape");
  await page.locator("#stages-1").click();
  assert.match(await page.locator("dialog .body").innerText(), /<svg onload=window\.hurt=3>/);
  assert.equal(await page.evaluate(() => window.hurt), undefined);
  assert.equal(await page.locator("img, script[src]").count(), 0);
  assert.deepEqual(await barriers(page), []);
  await close(page);
});
