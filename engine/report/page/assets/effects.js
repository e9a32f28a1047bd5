// Methods against their reference: the ablation as a forest plot, the effect of each method by row, and the rows on which distilling hurts.
// Differences, intervals and verdicts come with the document.

const VERDICTS = {
  better: { colour: "var(--good)", symbol: "circle", filled: true },
  worse: { colour: "var(--bad)", symbol: "diamond2", filled: true },
  equivalent: { colour: "var(--calm)", symbol: "square", filled: true },
  unresolved: { colour: "var(--neutral)", symbol: "circle", filled: false },
};
const verdictOf = (line) => VERDICTS[line.verdict] ?? VERDICTS.unresolved;

const pValue = (value) => (value === null || value === undefined ? NONE : value < 1e-4 ? "<0.0001" : value < 0.1 ? value.toFixed(4) : value.toFixed(2));
const range = (low, high) => (low === null || low === undefined ? NONE : `${figure(low)} to ${figure(high)}`);

const verdictLegend = () => h("ul", { class: "legend" }, Object.entries(VERDICTS).map(([word, { colour: fill, symbol, filled }]) => {
  const path = { circle: d3.symbolCircle, diamond2: d3.symbolDiamond2, square: d3.symbolSquare }[symbol];
  const mark = s("svg", { width: 14, height: 14, viewBox: "-7 -7 14 14", "aria-hidden": "true" }, s("path", { d: d3.symbol(path, 60)(), fill: filled ? fill : "none", stroke: fill, "stroke-width": 1.6 }));
  return h("li", null, mark, ` ${word}`);
}));

/** What a line compares, with the setting of a sweep that it is of. */
const comparedName = (of, line) => {
  const setting = line.setting.map((value, at) => `${of.settings[at]}=${value}`).filter((text) => !text.endsWith("=all")).join(", ");
  const against = of.lines.some((other) => other.reference !== line.reference) ? ` vs ${line.reference}` : "";
  return `${line.method}${against}${setting ? ` (${setting})` : ""}`;
};

/** Differences with their intervals, a line each. */
function forest(of, lines, { title, label, domain }) {
  const rows = lines.map((line) => ({ ...line, name: comparedName(of, line) }));
  rows.sort((a, b) => rank(page.axes.columns, a.method) - rank(page.axes.columns, b.method));
  const names = [...new Set(rows.map((row) => row.name))];
  const better = of.lower ? "← better   worse →" : "← worse   better →";
  const told = rows.filter((row) => row.difference !== null);
  const value = (row) => `${figure(row.difference)}  [${range(row.low, row.high)}]`;
  return plot({
    title, label,
    draw: (width) => ({
      height: 56 + 25 * names.length, marginLeft: roomFor(names, Math.min(width > 620 ? 240 : 170, width * 0.42)), marginRight: width > 620 ? 190 : 16, marginBottom: 36,
      x: { label: `difference of ${metricName(of.metric)}   ${better}`, labelAnchor: "center", labelArrow: "none", grid: true, nice: true, ticks: 5, domain },
      y: { label: null, domain: names, tickFormat: shortened(width > 620 ? 34 : 22) },
      color: { type: "identity" }, symbol: { type: "identity" },
      marks: [
        of.margin ? Plot.rect([0], { x1: -of.margin, x2: of.margin, fill: "var(--faint)", fillOpacity: 0.25 }) : null,
        Plot.ruleX([0], { stroke: "var(--neutral)" }),
        Plot.ruleY(told.filter((row) => row.low !== null), { y: "name", x1: "low", x2: "high", stroke: (row) => verdictOf(row).colour, strokeWidth: 1.6, clip: true }),
        Plot.ruleY(told.filter((row) => row.plain_low !== null), { y: "name", x1: "plain_low", x2: "plain_high", stroke: (row) => verdictOf(row).colour, strokeWidth: 4.5, strokeOpacity: 0.45, clip: true }),
        Plot.dot(told, { x: "difference", y: "name", r: 5, symbol: (row) => verdictOf(row).symbol, stroke: (row) => verdictOf(row).colour, strokeWidth: 1.8, fill: (row) => (verdictOf(row).filled ? verdictOf(row).colour : "var(--surface)"), title: (row) => `${row.name} on ${row.row}\n${row.sentence}`, tip: { lineWidth: 40 } }),
        width > 620 ? Plot.text(told, { y: "name", text: value, frameAnchor: "right", dx: 184, textAnchor: "end", fill: "var(--soft)", fontVariant: "tabular-nums" }) : null,
      ],
    }),
  });
}

function drawComparisons() {
  return page.comparisons.flatMap((of, at) => {
    const single = of.lines.filter((line) => line.single);
    const means = of.lines.filter((line) => !line.single);
    const groups = d3.groups(means.length > 0 ? means : single, (line) => line.row).slice(0, 12);
    const over = (row) => (means.length === 0 ? row : row === "mean" ? `Mean over all ${page.axes.rows}s` : `Mean over ${row}`);
    const plots = groups.map(([row, lines]) => forest(of, lines, {
      title: over(row),
      label: `Difference of ${metricName(of.metric)} to the reference, ${over(row)}: ${lines.map((line) => `${comparedName(of, line)} ${figure(line.difference)}, ${line.verdict}`).join("; ")}`,
    }));
    const heads = [...of.settings, page.axes.rows, "method", "against", "difference", { label: `${of.confidence} % interval`, title: "Nadeau and Bengio: for data like these" }, { label: "on these splits", title: "plain t interval: about these splits of this data set alone" }, { label: "p, Holm", title: "Nadeau and Bengio's t-test, after Holm's correction in its family" }, "blocks", { label: "resolvable", title: "the smallest difference that so many blocks find in four of five cases" }, "verdict"];
    const rows = of.lines.map((line) => [
      ...line.setting, line.row, line.method, line.reference, line.difference,
      { value: line.low, text: range(line.low, line.high) }, { value: line.plain_low, text: range(line.plain_low, line.plain_high) },
      cell(line.p, pValue(line.p)), line.blocks, line.resolvable, h("span", { class: `verdict ${line.verdict}`, title: line.sentence }, line.verdict),
    ]);
    return [
      page.comparisons.length > 1 ? h("h3", null, of.stage) : null,
      verdictLegend(), plots,
      h("p", { class: "quiet" }, of.users
        ? "One block: users are resampled, with all their rows. This is about these two trained models and other users; another seed may turn it round."
        : `Thin lines are ${of.confidence} % intervals for data like these (Nadeau and Bengio), thick ones are about these splits alone. The grey band is the margin within which differences do not matter. A verdict is given at ${of.alpha} after Holm's correction in its family; unresolved does not mean that there is no difference.`),
      h("details", null, h("summary", null, `All ${plural(of.lines.length, "comparison")}`), table({ id: `comparisons-${at}`, caption: `Comparisons of ${metricName(of.metric)}`, heads, rows, head: of.settings.length + 2 })),
    ];
  });
}

/** Of more rows than this, such as classes, only those are drawn of which something is known. All are in the table. */
const MOST_DRAWN = 40;

/** The effect of each method, row by row, or class by class. */
function drawEffects() {
  return page.effects.flatMap((of, at) => {
    const methods = inOrder(page.axes.columns, of.rows.flatMap((row) => row.lines.map((line) => line.method)));
    const telling = (row) => row.lines.some((line) => line.verdict === "better" || line.verdict === "worse");
    const drawn = of.rows.length > MOST_DRAWN ? of.rows.filter(telling).slice(0, MOST_DRAWN) : of.rows;
    const names = drawn.map((row) => row.row);
    const marked = new Set(of.rows.filter((row) => row.hurt_by.length > 0).map((row) => row.row));
    const lines = drawn.flatMap((row) => row.lines.map((line) => ({ ...line, row: row.row }))).filter((line) => line.difference !== null);
    const chart = drawn.length === 0 ? null : plot({
      title: `Difference of ${metricName(of.metric)} to ${of.reference} by ${of.axis} and method`,
      label: `Difference of ${metricName(of.metric)} to ${of.reference}, for each ${of.axis} and method, with intervals. ${marked.size > 0 ? `Undistillable: ${[...marked].join(", ")}.` : "None is undistillable."}`,
      draw: (width) => {
        const columns = Math.max(1, Math.min(methods.length, Math.floor((width - 120) / 150)));
        const place = new Map(methods.map((method, at) => [method, [at % columns, Math.floor(at / columns)]]));
        const tall = Math.ceil(methods.length / columns);
        return {
          height: tall * (44 + 21 * names.length) + 40, marginLeft: roomFor(names, 140) + 12, marginRight: 12, marginTop: 30, marginBottom: 36,
          fx: { axis: null, padding: 0.16, domain: d3.range(columns) }, fy: { axis: null, padding: 0.16, domain: d3.range(tall) },
          x: { label: of.lower ? "← better   worse →" : "← worse   better →", labelArrow: "none", labelAnchor: "center", grid: true, ticks: 3, nice: true, insetLeft: 6, insetRight: 6 }, y: { label: null, domain: names, tickFormat: (name) => `${marked.has(name) ? "▲ " : ""}${shortened(18)(name)}` },
          color: { type: "identity" }, symbol: { type: "identity" },
          marks: [
            Plot.ruleX([0], { stroke: "var(--neutral)" }),
            Plot.ruleY(lines.filter((line) => line.low !== null), { fx: (line) => place.get(line.method)[0], fy: (line) => place.get(line.method)[1], y: "row", x1: "low", x2: "high", stroke: (line) => verdictOf(line).colour, strokeWidth: 1.6 }),
            Plot.dot(lines, { fx: (line) => place.get(line.method)[0], fy: (line) => place.get(line.method)[1], y: "row", x: "difference", r: 4, symbol: (line) => verdictOf(line).symbol, stroke: (line) => verdictOf(line).colour, strokeWidth: 1.6, fill: (line) => (verdictOf(line).filled ? verdictOf(line).colour : "var(--surface)"), title: (line) => `${line.method} on ${line.row}\n${line.sentence}`, tip: { lineWidth: 40 } }),
            Plot.text(methods, { fx: (method) => place.get(method)[0], fy: (method) => place.get(method)[1], text: shortened(20), frameAnchor: "top-left", dy: -16, fontWeight: 600, fill: (method) => colour(method) }),
          ],
        };
      },
    });
    const talks = [...new Set(of.rows.flatMap((row) => row.talk.map((one) => one.method)))];
    const sized = of.rows.some((row) => row.train_rows !== null);
    const without = (cells) => (sized ? cells : cells.filter((_, at) => at !== 1 && at !== 2));
    const heads = [of.axis, { label: "train ratings", title: "mean over splits" }, "group", { label: "hurt by", title: `one-way methods that hurt, each by ${of.hurt}` }, ...talks.map((method) => `${method} there`)];
    const rows = of.rows.map((row) => [
      row.row, cell(row.train_rows, row.train_rows === null ? NONE : Math.round(row.train_rows).toLocaleString("en")), row.group ?? "",
      row.hurt_by.length > 0 ? { value: row.hurt_by.length, text: h("span", { class: "verdict worse" }, `▲ ${row.hurt_by.join(", ")}`) } : { value: 0, text: NONE },
      ...talks.map((method) => row.talk.find((one) => one.method === method)?.effect ?? NONE),
    ]);
    return [
      page.effects.length > 1 ? h("h3", null, `${of.stage}, by ${of.axis}`) : null,
      verdictLegend(), chart,
      h("p", { class: "quiet" }, `▲ undistillable: distilling one way hurts there, ${of.hurt}.${drawn.length < of.rows.length ? ` ${drawn.length} of ${of.rows.length} are drawn: those of which something is known.` : ""}`),
      table({ id: `effects-${at}`, caption: `Where one-way distillation hurts, and what talk does there`, heads: without(heads), rows: rows.map(without) }),
    ];
  });
}

/** How alike students' states are to their teachers': a mark for each model, a line at the mean. */
function drawLikeness() {
  const methods = inOrder(page.axes.columns, page.likeness.map((one) => one.method));
  const strip = (state, at) => {
    const marks = page.likeness.flatMap((one) => one.models.map((model) => ({ method: one.method, row: model[0], block: model[1], value: model[at] }))).filter((mark) => mark.value !== null);
    if (marks.length === 0) return null;
    const means = page.likeness.filter((one) => one[state] !== null);
    return plot({
      title: `The ${state} state`, label: `Linear CKA of ${state} states with the teacher's by method, means: ${means.map((one) => `${one.method} ${figure(one[state])}`).join(", ")}`,
      draw: () => ({
        height: 46 + 24 * methods.length, marginLeft: roomFor(methods), marginRight: 16, marginBottom: 34,
        x: { label: null, domain: [0, 1], grid: true, ticks: 5 }, y: { label: null, domain: methods, tickFormat: shortened() }, color: { type: "identity" },
        marks: [
          Plot.ruleX([0]),
          Plot.dot(marks, { x: "value", y: "method", r: 3.6, stroke: (mark) => colour(mark.method), strokeWidth: 1.5, strokeOpacity: 0.7, title: (mark) => `${mark.method}, ${mark.row}${mark.block ? `, ${mark.block}` : ""}\nCKA ${figure(mark.value)}`, tip: true }),
          Plot.tickX(means, { x: state, y: "method", stroke: (one) => colour(one.method), strokeWidth: 3, insetTop: 3, insetBottom: 3 }),
        ],
      }),
    });
  };
  const rows = methods.map((method) => page.likeness.find((one) => one.method === method)).map((one) => [one.method, one.models.length, one.low, one.high]);
  return [h("div", { class: "grid wide" }, strip("low", 2), strip("high", 3)), table({ id: "likeness-table", caption: "Linear CKA with the teacher, mean over models", heads: ["method", "models", "low state", "high state"], rows })];
}
