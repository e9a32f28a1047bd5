// The graph of stages: boxes with states and times, to be zoomed and moved. A box opens what is known of its stage.

const SVG_GRAPHS = { stages: () => page.graph, instances: () => page.all };

/** The instances that a box of a graph stands for. */
const behind = (of, at) => (of === "instances" ? [page.instances[at]] : page.stages[at].instances.map((place) => page.instances[place]));

/** What became of some instances, and how long they took. */
function standing(instances) {
  const counts = tally(instances);
  const state = counts[0]?.[0] ?? "pending";
  const words = counts.map(([word, count]) => (instances.length > 1 ? `${count} ${word}` : word)).join(", ");
  const seconds = instances.reduce((sum, one) => sum + (one.seconds ?? 0), 0);
  const working = instances.find((one) => one.progress?.total);
  const share = working && instances.length === 1 ? `, ${Math.round((100 * working.progress.done) / working.progress.total)} %` : "";
  return { state, counts, words: words + share, time: instances.some((one) => one.seconds !== null) ? duration(seconds) : "" };
}

function boxOf(of, at, [left, top, width], tall) {
  const instances = behind(of, at);
  const stage = of === "instances" ? page.stages[instances[0].stage] : page.stages[at];
  const name = of === "instances" ? instances[0].name : stage.name;
  const kind = of === "instances" || instances.length === 1 ? stage.kind : `${stage.kind} × ${instances.length}`;
  const open = () => (of === "instances" ? showInstance(page.instances.indexOf(instances[0])) : showStage(at));
  const status = s("text", { class: "status", x: left + 14, y: top + 56 });
  const bar = s("g", { class: "bar" });
  const box = s("g", {
    class: "box", tabindex: "0", role: "button", id: `${of}-${at}`,
    onclick: open,
    onkeydown: (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        open();
      }
    },
  },
    s("rect", { class: "frame", x: left, y: top, width, height: tall, rx: 10 }),
    s("text", { class: "name", x: left + 14, y: top + 22 }, name),
    s("text", { class: "kind", x: left + 14, y: top + 38 }, kind),
    status, bar);
  /** Shows how it stands now. */
  box.update = () => {
    const now = standing(behind(of, at));
    box.setAttribute("class", `box ${now.state}`);
    status.textContent = [now.words, now.time].filter(Boolean).join(" · ");
    const all = now.counts.reduce((sum, [, count]) => sum + count, 0);
    let from = left + 14;
    bar.replaceChildren(...now.counts.map(([state, count]) => {
      const part = ((width - 28) * count) / all;
      const piece = s("rect", { class: state, x: from, y: top + tall - 9, width: Math.max(part - 1, 1), height: 4, rx: 1.5 });
      from += part;
      return piece;
    }));
  };
  box.update();
  return box;
}

/** The boxes that are on the page, to be brought up to date. */
let boxes = [];

function drawGraph(of) {
  const drawn = SVG_GRAPHS[of]();
  const marker = s("marker", { id: "end", viewBox: "0 0 8 8", refX: 8, refY: 4, markerWidth: 8, markerHeight: 8, orient: "auto" }, s("path", { d: "M0 0L8 4L0 8z" }));
  boxes = drawn.boxes.map((place, at) => boxOf(of, at, place, drawn.tall));
  const layer = s("g", null, s("g", { class: "edges" }, drawn.edges.map((d) => s("path", { d, "marker-end": "url(#end)" }))), boxes);
  const svg = s("svg", { class: "graph", viewBox: `0 0 ${drawn.width} ${drawn.height}`, role: "group", "aria-label": `Graph of ${of}` }, s("defs", null, marker), layer);
  // As tall as the picture needs at this width, but never more than a screen has.
  svg.style.setProperty("aspect-ratio", `${Math.max(drawn.width, 320)} / ${drawn.height}`);
  svg.style.setProperty("max-height", `min(72vh, ${Math.round(1.1 * drawn.height)}px)`);
  // One of many instances is wide and flat: there has to be room to zoom into.
  if (of === "instances") svg.style.setProperty("min-height", "420px");
  const zoom = d3.zoom().scaleExtent([0.25, Math.max(12, drawn.width / 250)])
    // The wheel alone scrolls the page; two fingers, or the wheel with Ctrl, zoom.
    .filter((event) => (event.type === "wheel" ? event.ctrlKey || event.metaKey : event.type !== "dblclick" && !event.button && (event.type !== "touchstart" || event.touches.length > 1)))
    .on("zoom", (event) => layer.setAttribute("transform", event.transform));
  const selection = d3.select(svg).call(zoom);
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const by = (factor) => (still ? selection : selection.transition().duration(150)).call(zoom.scaleBy, factor);
  const fit = () => (still ? selection : selection.transition().duration(150)).call(zoom.transform, d3.zoomIdentity);
  const button = (label, sign, act) => h("button", { type: "button", "aria-label": label, title: label, onclick: act }, sign);
  svg.addEventListener("keydown", (event) => {
    const act = { "+": () => by(1.4), "=": () => by(1.4), "-": () => by(1 / 1.4), "0": fit }[event.key];
    if (act && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      act();
    }
  });
  return h("div", { class: "canvas" }, svg, h("div", { class: "zoom", role: "group", "aria-label": "Zoom" }, button("Zoom in", "+", () => by(1.4)), button("Zoom out", "−", () => by(1 / 1.4)), button("Show all of it", "⤢", fit)));
}
