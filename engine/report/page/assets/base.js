// What all other files use: the document, elements, numbers as people read them, colours.

/** The document: what `report --format json` prints. A page that is served gets it anew as things happen. */
let page = JSON.parse(document.getElementById("page").textContent);
/** Where a page that is served gets what happens; null in a file. */
const live = JSON.parse(document.getElementById("live").textContent);

const NONE = "–";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [property, of] of Object.entries(value)) element.style.setProperty(property, of);
    else element.setAttribute(name, value === true ? "" : value);
  }
  // Text becomes text: nothing of what others wrote is ever read as markup.
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An element of HTML. */
const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
/** An element of SVG. */
const s = (tag, attributes, ...children) => fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

const plural = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

/** A number with as many digits as people read. */
function figure(value) {
  if (value === null || value === undefined) return NONE;
  if (typeof value !== "number") return String(value);
  const size = Math.abs(value);
  if (value === 0 || (Number.isInteger(value) && size < 1e15)) return value.toLocaleString("en");
  if (size >= 1e-3 && size < 1e6) return value.toFixed(4);
  return value.toExponential(2);
}

/** A number with a prefix: `1.2 M`. */
function scaled(value, unit) {
  if (value === null || value === undefined) return NONE;
  const prefixes = ["", "k", "M", "G", "T", "P"];
  let at = 0;
  while (Math.abs(value) >= 1000 && at + 1 < prefixes.length) {
    value /= 1000;
    at += 1;
  }
  const digits = at === 0 ? String(Math.round(value)) : value.toFixed(1);
  return `${digits} ${prefixes[at]}${unit}`.trim();
}

/** A time: `0.4 s`, `3 min 20 s`. */
function duration(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  if (seconds < 100) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 100) return `${minutes} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** What can become of a stage, in the order in which it is told: a sign and a word each. */
const STATES = {
  failed: "✕",
  stopped: "■",
  skipped: "↷",
  running: "▶",
  waiting: "⧗",
  ran: "✓",
  cached: "≡",
  pending: "·",
};

/** A state as a word with a sign, in its colour. */
const badge = (state) => h("span", { class: `badge ${state}` }, h("span", { "aria-hidden": "true" }, STATES[state] ?? ""), ` ${state}`);

/** How many of some instances are in each state. */
function tally(instances) {
  const counts = new Map(Object.keys(STATES).map((state) => [state, 0]));
  for (const instance of instances) counts.set(instance.state, (counts.get(instance.state) ?? 0) + 1);
  return [...counts].filter(([, count]) => count > 0);
}

const COLOURS = 12;
/** The teacher's column in tables. */
const TEACHER = "teacher";

/** The colour of a method: the same everywhere on the page. */
function colour(method) {
  if (method === TEACHER || method === null || method === undefined) return "var(--neutral)";
  const all = page.order[page.axes.columns] ?? [];
  const at = all.indexOf(method);
  return `var(--c${(at < 0 ? 0 : at) % COLOURS})`;
}

/** A list of methods with their colours. */
const legend = (methods) =>
  h("ul", { class: "legend" }, methods.map((method) => h("li", null, h("i", { style: { background: colour(method) } }), method)));

/** Where a value stands among those of an axis, in the manifest's order. */
function rank(axis, value) {
  const at = (page.order[axis] ?? []).indexOf(value);
  return at < 0 ? Infinity : at;
}

const inOrder = (axis, values) => [...new Set(values)].sort((a, b) => rank(axis, a) - rank(axis, b) || String(a).localeCompare(String(b)));

/** Work for later: the page is there at once, and what takes long comes piece by piece. */
const later = (() => {
  const waiting = [];
  let scheduled = false;
  const step = () => {
    scheduled = false;
    const until = performance.now() + 12;
    while (waiting.length > 0 && performance.now() < until) waiting.shift()();
    if (waiting.length > 0) return schedule();
    document.documentElement.dataset.drawn = "true";
    performance.mark("drawn");
  };
  const schedule = () => {
    if (!scheduled) {
      scheduled = true;
      setTimeout(step, 0);
    }
  };
  const add = (work) => {
    delete document.documentElement.dataset.drawn;
    waiting.push(work);
    schedule();
  };
  // Nothing may be missing on paper.
  addEventListener("beforeprint", () => waiting.splice(0).forEach((work) => work()));
  return add;
})();

/** A choice among words; what is chosen survives drawing anew. */
const chosen = new Map();
function choice(id, label, options, draw) {
  const current = options.includes(chosen.get(id)) ? chosen.get(id) : options[0];
  chosen.set(id, current);
  const select = h("select", { id, onchange: () => (chosen.set(id, select.value), draw(select.value)) }, options.map((option) => h("option", { selected: option === current }, option)));
  return options.length > 1 ? h("label", { class: "choice" }, `${label} `, select) : null;
}
