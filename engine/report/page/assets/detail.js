// What is known of a stage or of one of its instances, beside the page. Escape closes it, and the focus goes back where it was.

const detail = document.getElementById("detail");
/** What is shown: draws it again when something has changed. */
let redrawDetail = null;

function showDetail(draw) {
  redrawDetail = () => {
    const title = draw.title();
    detail.replaceChildren(
      h("header", null, h("h2", { id: "detail-title", tabindex: "-1" }, title), h("button", { type: "button", class: "close", "aria-label": "Close", onclick: () => detail.close() }, "✕")),
      h("div", { class: "body" }, draw.body()));
  };
  redrawDetail();
  if (!detail.open) detail.showModal();
  detail.scrollTop = 0;
  detail.querySelector("#detail-title").focus();
}

detail.addEventListener("close", () => (redrawDetail = null));
// A click beside it closes it.
detail.addEventListener("click", (event) => event.target === detail && detail.close());

const settings = (caption, lines) => table({ caption, heads: ["setting", "value", "from"], rows: lines.map((line) => [line.path, h("code", null, line.value), line.from]), empty: "It has no settings." });

/** A stage: its instances, and the settings that all of them have. */
function showStage(at) {
  if (page.stages[at].instances.length === 1) return showInstance(page.stages[at].instances[0]);
  showDetail({
    title: () => page.stages[at].name,
    body: () => {
      const stage = page.stages[at];
      const open = (place) => h("button", { type: "button", class: "link", onclick: () => showInstance(place) }, page.instances[place].name);
      const first = stage.metrics[0];
      const rows = stage.instances.map((place) => {
        const one = page.instances[place];
        return [open(place), badge(one.state), cell(one.seconds, duration(one.seconds)), ...(first ? [one.metrics[0]] : [])];
      });
      return [
        facts([["kind", stage.kind], ["instances", standing(stage.instances.map((place) => page.instances[place])).words]]),
        table({ caption: "Instances", heads: ["instance", "state", "time", ...(first ? [first] : [])], rows }),
        settings("Settings that all of them have", stage.lines),
      ];
    },
  });
}

/** An instance. */
function showInstance(place) {
  showDetail({ title: () => page.instances[place].name, body: () => instanceBody(place) });
}

function instanceBody(place) {
  const one = page.instances[place];
  const stage = page.stages[one.stage];
  const back = stage.instances.length > 1 ? h("p", null, h("button", { type: "button", class: "link", onclick: () => showStage(one.stage) }, `← all ${stage.instances.length} instances of ${stage.name}`)) : null;
  const metrics = stage.metrics.map((name, at) => [name, one.metrics[at]]).filter(([, value]) => value !== null && value !== undefined);
  return [
    back,
    facts([
      ["state", badge(one.state)],
      ["kind", stage.kind],
      ["why", one.why],
      ["progress", one.progress ? `${one.progress.done}${one.progress.total ? ` of ${one.progress.total}` : ""} ${one.progress.what}` : null],
      ["time", one.seconds === null ? null : `${duration(one.seconds)}${one.cpu_seconds === null ? "" : `, ${duration(one.cpu_seconds)} of CPU`}`],
      ["memory", one.peak_memory === null ? null : `${scaled(one.peak_memory, "B")} at most`],
      ["key", one.key ? h("code", { class: "key" }, one.key) : null],
      ["made in run", one.made_in],
    ]),
    one.failure ? h("pre", { class: "failure", tabindex: "0", role: "region", "aria-label": "Why it failed" }, one.failure) : null,
    one.notes.map((note) => h("p", { class: "notice" }, note)),
    metrics.length > 0 ? table({ caption: "Metrics", heads: ["metric", "value"], rows: metrics }) : null,
    settings("Parameters", [...stage.lines, ...one.lines].sort((a, b) => (a.path < b.path ? -1 : 1))),
    one.files.length > 0 ? table({ caption: "Files", heads: ["file", "size"], rows: one.files.map(([name, size]) => [name, cell(size, scaled(size, "B"))]) }) : null,
    h("h3", null, "Log"),
    one.log ? [
      one.log.of ? h("p", { class: "quiet" }, `The end of ${scaled(one.log.of, "B")}; all of it: `, h("code", null, `talkflow logs '${one.name}'`)) : null,
      h("pre", { class: "log", tabindex: "0", role: "region", "aria-label": "Log" }, one.log.text),
    ] : h("p", { class: "quiet" }, "It said nothing, or its log is not on this page."),
  ];
}
