// The sections of the page, in order: what each is called, what of the document it shows, and how.

/** Beyond this a graph of instances is not drawn by default. */
const sections = [
  {
    id: "pipeline", title: "Pipeline", intro: "Each box is a stage with what became of its instances and the time they took. Enter or a click opens parameters, key and log.",
    uses: () => [page.graph, page.all, page.stages, page.instances.map((one) => one.name)],
    draw: () => {
      const place = h("div");
      const draw = (of) => place.replaceChildren(drawGraph(of));
      const select = choice("graph", "Show", page.all ? ["stages", "instances"] : ["stages"], draw);
      draw(chosen.get("graph"));
      return [select, place];
    },
  },
  { id: "results", title: "Results", uses: () => page.tables, when: () => page.tables.length > 0, draw: () => page.tables.map(drawTable) },
  { id: "comparisons", title: "Methods against their reference", uses: () => page.comparisons, when: () => page.comparisons.length > 0, draw: drawComparisons },
  { id: "effects", get title() { return `Effect by ${page.axes.rows}`; }, uses: () => page.effects, when: () => page.effects.length > 0, draw: drawEffects },
  { id: "sweep", title: "Sweep", uses: () => page.sweep, when: () => page.sweep !== null, draw: drawSweep },
  { id: "curves", title: "Training", uses: () => page.curves, when: () => page.curves.shown.length > 0, draw: drawCurves },
  { id: "cost", title: "Cost", uses: () => page.cost, when: () => page.cost.length > 0, draw: drawCost },
  { id: "monitors", title: "Collapse monitors", uses: () => monitored(), when: () => monitored().length > 0, draw: drawMonitors },
  { id: "likeness", title: "Likeness to the teacher", intro: "Linear CKA of the student's and the teacher's states on the rows scored: 1 where one is a rotation of the other, 0 where no linear map relates them. Students from scratch are the state before any communication, those that talk the state after it.", uses: () => page.likeness, when: () => page.likeness.length > 0, draw: drawLikeness },
  { id: "provenance", title: "Provenance", uses: () => [page.run, page.data, page.params, page.remarks], draw: drawProvenance },
];

function drawProvenance() {
  const { about, began, made_in, made_by } = page.run;
  const git = about.git ? `${about.git.revision}${about.git.dirty ? ", with changes that are not committed" : ""}` : "none known";
  const data = page.data.map((one) => [one.name, one.what, h("code", { class: "key" }, one.digest), one.sources.map(([name, value]) => h("div", null, `${name}: ${value}`)), one.notes.join(" ")]);
  return [
    facts([
      ["run", about.run],
      ["manifest", `${about.manifest.name} (${about.manifest.path})`],
      ["command", h("code", null, about.command.join(" "))],
      ["began", began],
      ["git revision", git],
      ["talkflow", made_by.length === 0 || (made_by.length === 1 && made_by[0] === about.talkflow) ? about.talkflow : `${about.talkflow}; results made by ${made_by.join(", ")}`],
      ["formats", `manifest ${about.formats.manifest}, store ${about.formats.store}, run ${about.formats.run}`],
      ["host", `${about.host.name}, ${about.host.system}`],
      ["processor", [about.host.cpu, plural(about.host.cores, "core"), about.host.memory === null ? null : `${scaled(about.host.memory, "B")} of memory`].filter(Boolean).join(", ")],
      ["computed on", `${about.device}, ${plural(about.cores, "core")}`],
      ["results made in", made_in.length > 0 ? made_in.join(", ") : null],
    ]),
    page.remarks.map((remark) => h("p", { class: "notice" }, remark)),
    page.data.length > 0 ? table({ id: "data-table", caption: "Data that results rest on", heads: ["stage", "is", "digest", "from", "notes"], rows: data }) : null,
    page.params.length > 0 ? h("details", null, h("summary", null, `The manifest's ${plural(page.params.length, "parameter")}, resolved`), settings("Parameters in effect", page.params)) : null,
    h("details", null, h("summary", null, `Every stage's settings, resolved`), page.stages.map((stage) => h("details", null, h("summary", null, `${stage.name} (${stage.kind})`), settings(`Settings of ${stage.name}${stage.instances.length > 1 ? " that all instances have" : ""}`, stage.lines)))),
  ];
}

/** What the page is about, at its top. */
function drawHead() {
  const { about, outcome, began, seconds } = page.run;
  const tile = (label, value) => h("div", { class: "tile" }, h("dt", null, label), h("dd", null, value));
  const counts = tally(page.instances);
  const what = page.sweep ? "Sweep" : "Run";
  return [
    h("div", { class: "top" },
      h("p", { class: "brand" }, "talkflow"),
      h("button", { type: "button", class: "theme", id: "theme", onclick: turnTheme }, themeName())),
    h("h1", null, page.title),
    h("p", { class: "sub" }, `${what} ${about.run}, began ${began}`),
    h("dl", { class: "tiles" },
      tile("outcome", h("span", { class: `outcome ${outcome}` }, outcome)),
      tile("stages", h("span", null, counts.map(([state, count]) => [badge(`${state}`), ` ${count} `]))),
      page.sweep ? tile("points", `${page.sweep.tally.done + page.sweep.tally.cached} of ${page.sweep.points.length}`) : null,
      tile("time", duration(seconds)),
      tile("computed on", `${about.device}, ${plural(about.cores, "core")}`)),
    h("nav", { "aria-label": "Sections" }, h("ul", null, sections.filter((section) => section.when?.() ?? true).map((section) => h("li", null, h("a", { href: `#${section.id}` }, section.title))))),
  ];
}

const THEMES = ["auto", "light", "dark"];
const themeName = () => `Theme: ${document.documentElement.dataset.theme ?? "auto"}`;
function turnTheme() {
  const root = document.documentElement;
  const next = THEMES[(THEMES.indexOf(root.dataset.theme ?? "auto") + 1) % THEMES.length];
  if (next === "auto") delete root.dataset.theme;
  else root.dataset.theme = next;
  document.getElementById("theme").textContent = themeName();
}
