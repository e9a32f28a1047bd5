// Tables that can be sorted by each of their columns, from the keyboard too.

/** More rows are shown only when asked for. */
const SHORT = 25;

/** The cell of a number. */
const cell = (value, text = figure(value)) => ({ value, text });

/**
 * A table. `heads` are texts, or `{ label, title }`; a row is a list of cells, each a text, a number, an element, or `{ value, text }`,
 * where `value` is what is sorted by. `foot` are rows that stay at the end. `head` says how many columns name the row.
 */
function table({ id, caption, heads, rows, foot = [], head = 1, empty = "Nothing yet." }) {
  const value = (one) => (one !== null && typeof one === "object" && "value" in one ? one.value : one instanceof Node ? one.textContent : one);
  const text = (one) => (one !== null && typeof one === "object" && "text" in one ? one.text : one instanceof Node ? one : figure(one));
  const numeric = heads.map((_, at) => at >= head && [...rows, ...foot].every((row) => [null, undefined].includes(value(row[at])) || typeof value(row[at]) === "number"));
  let order = rows.map((_, at) => at);
  let all = rows.length <= 2 * SHORT;
  let sorted = { at: -1, down: false };
  const body = h("tbody");
  const line = (row) =>
    h("tr", null, row.map((one, at) => {
      const [tag, attributes] = at < head ? ["th", { scope: "row" }] : ["td", {}];
      if (numeric[at]) attributes.class = "number";
      if (one !== null && typeof one === "object" && one.class) attributes.class = `${attributes.class ?? ""} ${one.class}`;
      return h(tag, attributes, text(one));
    }));
  const draw = () => {
    const shown = all ? order : order.slice(0, SHORT);
    body.replaceChildren(...shown.map((at) => line(rows[at])));
    more.hidden = all;
  };
  const compare = (a, b) => {
    const none = (one) => one === null || one === undefined || one === "";
    if (none(a) || none(b)) return none(a) - none(b);
    const by = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
    return sorted.down ? -by : by;
  };
  const sort = (at) => {
    sorted = { at, down: sorted.at === at && !sorted.down };
    order = rows.map((_, place) => place).sort((a, b) => compare(value(rows[a][at]), value(rows[b][at])) || a - b);
    columns.forEach((column, place) => column.setAttribute("aria-sort", place !== at ? "none" : sorted.down ? "descending" : "ascending"));
    draw();
  };
  const columns = heads.map((one, at) => {
    const { label, title } = typeof one === "string" ? { label: one } : one;
    return h("th", { scope: "col", "aria-sort": "none", class: numeric[at] ? "number" : null, title }, h("button", { type: "button", onclick: () => sort(at) }, label, h("span", { class: "arrow", "aria-hidden": "true" })));
  });
  const more = h("button", { type: "button", class: "more", onclick: () => { all = true; draw(); } }, `Show all ${plural(rows.length, "row")}`);
  draw();
  if (rows.length + foot.length === 0) return h("p", { class: "quiet" }, empty);
  return h("div", { class: "table" },
    // What scrolls can be scrolled from the keyboard.
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
      h("table", { id }, h("caption", null, caption), h("thead", null, h("tr", null, columns)), body, foot.length > 0 ? h("tfoot", null, foot.map(line)) : null)),
    more);
}

/** Names and values under each other. */
const facts = (pairs) => h("dl", { class: "facts" }, pairs.filter(([, value]) => value !== null && value !== undefined && value !== "").map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))));
