// What came out: evaluations, training curves, cost, monitors, the numbers of a sweep. All of it was computed before; here it is drawn.

/** Names of metrics as tables have them. */
const METRICS = { rmse: "RMSE", mae: "MAE", user_rmse: "per-user RMSE", gap_recovery: "gap recovery", hr: "HR", ndcg: "NDCG", macro_accuracy: "macro accuracy", nll: "NLL", ece: "ECE" };
const metricName = (word) => METRICS[word] ?? word.replaceAll("_", " ");

function spread(value, metric) {
  if (!value) return { value: null, text: NONE };
  if (metric === "gap_recovery") return { value: value.mean, text: `${Math.round(100 * value.mean)} %` };
  return { value: value.mean, text: value.sd === null ? figure(value.mean) : `${figure(value.mean)} ± ${figure(value.sd)}` };
}

/** An evaluation: rows and columns, one metric at a time. */
function drawTable(of, at) {
  const place = h("div");
  const draw = (word) => {
    const metric = of.metrics.findIndex((known) => metricName(known) === word);
    const line = (row) => of.columns.map((_, column) => {
      const found = of.cells.find((one) => one.row === row && one.column === column);
      const shown = spread(found?.values[metric], of.metrics[metric]);
      const n = found?.values[metric]?.n;
      const marks = [n !== undefined && n < of.blocks ? ` (${n})` : "", found?.collapsed ? ` !${found.collapsed}` : ""].join("");
      return { ...shown, text: shown.text + marks };
    });
    const mean = of.rows.length > 1 && of.cells.some((one) => one.row === null) ? [["mean", ...line(null)]] : [];
    const over = of.blocks > 1 ? `, mean ± sd over ${of.blocks} blocks` : "";
    const caption = `${of.title}: ${word}${of.part ? ` on the ${of.part} rows` : ""}${over}`;
    const rows = of.rows.map((row, place) => ({ group: of.sizes[place].group, cells: [row, cell(of.sizes[place].train_rows, of.sizes[place].train_rows === null ? NONE : Math.round(of.sizes[place].train_rows).toLocaleString("en")), ...line(place)] }));
    const sized = of.sizes.some((size) => size.train_rows !== null);
    const without = (cells) => (sized ? cells : cells.filter((_, at) => at !== 1));
    const heads = without([of.row_axis, { label: "train", title: "ratings that models of this row learn from, mean" }, ...of.columns]);
    const foot = mean.map(([name, ...cells]) => without([name, { value: null, text: "" }, ...cells]));
    // Dense and sparse rows are different questions.
    const groups = d3.groups(rows, (row) => row.group);
    place.replaceChildren(...groups.map(([group, own], part) => table({
      id: `table-${at}-${part}`, caption: groups.length > 1 ? `${caption}: ${group}` : caption, heads, rows: own.map((row) => without(row.cells)),
      // The mean is over all rows, and stands once.
      foot: part === groups.length - 1 ? foot : [],
    })));
  };
  const select = choice(`metric-${at}`, "Metric", of.metrics.map(metricName), draw);
  draw(chosen.get(`metric-${at}`));
  const collapsed = of.cells.some((one) => one.collapsed > 0);
  const incomplete = of.cells.some((one) => one.values[0] && one.values[0].n < of.blocks);
  return [
    select, place,
    of.checks ? h("p", { class: "notice" }, of.checks.trim()) : null,
    h("p", { class: "quiet" }, of.data, ". ", of.notes.join(". "), collapsed ? `${of.notes.length ? ". " : ""}!n: in n models the deep path collapsed to a constant` : "", incomplete ? ". (n): over n blocks only" : "", "."),
  ];
}

/** Training curves: a plot for each stage and row, a line for each training. */
function drawCurves() {
  const { shown, of } = page.curves;
  const names = [...new Set(shown.flatMap((one) => Object.keys(one.columns)))].filter((name) => name !== "epoch");
  const measured = names.filter((name) => shown.some((one) => one.columns[name]?.some((value) => value !== null)));
  measured.sort((a, b) => b.startsWith("validation") - a.startsWith("validation"));
  const groups = d3.groups(shown, (one) => {
    const instance = page.instances[one.instance];
    return [page.stages[instance.stage].name, instance.labels[page.axes.rows]].filter(Boolean).join(" · ");
  });
  const place = h("div", { class: "grid" });
  const draw = (name) => place.replaceChildren(...groups.filter(([, own]) => own.some((one) => one.columns[name])).map(([title, own]) => {
    const points = own.flatMap((one) => {
      const instance = page.instances[one.instance];
      const method = instance.labels[page.axes.columns] ?? null;
      const of = Object.entries(instance.labels).filter(([axis]) => axis !== page.axes.columns && axis !== page.axes.rows).map(([axis, value]) => `${axis}=${value}`).join(", ");
      return (one.columns[name] ?? []).map((value, at) => ({ epoch: one.columns.epoch?.[at] ?? at + 1, value, method, of, key: one.instance, best: one.best === (one.columns.epoch?.[at] ?? at + 1) }));
    }).filter((point) => point.value !== null);
    const faint = own.length > 24 ? 0.35 : 0.8;
    const title_ = (point) => `${[point.method, point.of].filter(Boolean).join(", ")}\nepoch ${point.epoch}: ${figure(point.value)}${point.best ? " (best)" : ""}`;
    return plot({
      title, label: `${name} by epoch of ${plural(own.length, "training")} of ${title}`,
      draw: () => ({
        height: 230, marginLeft: 48, marginBottom: 34,
        x: { label: "epoch", tickFormat: "d", ticks: 6 }, y: { label: null, grid: true, nice: true, ticks: 5 },
        marks: [
          Plot.line(points, { x: "epoch", y: "value", z: "key", stroke: (point) => colour(point.method), strokeWidth: 1.4, strokeOpacity: faint }),
          Plot.dot(points.filter((point) => point.best), { x: "epoch", y: "value", r: 2.6, fill: (point) => colour(point.method) }),
          Plot.tip(points, Plot.pointer({ x: "epoch", y: "value", title: title_ })),
        ],
        color: { type: "identity" },
      }),
    });
  }));
  const first = measured.find((name) => name === "validation_rmse") ?? measured[0];
  const select = choice("curve", "Curve", [first, ...measured.filter((name) => name !== first)], draw);
  draw(chosen.get("curve"));
  const methods = inOrder(page.axes.columns, shown.map((one) => page.instances[one.instance].labels[page.axes.columns]).filter(Boolean));
  return [select, legend(methods), place, h("p", { class: "quiet" }, "Dots mark the epoch whose model was kept.", shown.length < of ? ` ${shown.length} of ${of} trainings are shown, evenly chosen.` : "")];
}

const costName = (one) => [one.stage, one.method].filter(Boolean).join(": ");

/** What trainings took. */
function drawCost() {
  const parameters = page.cost.flatMap((one) => [
    { name: costName(one), what: "serving", value: one.serving_parameters, of: one },
    { name: costName(one), what: "training only", value: one.training_parameters, of: one },
  ]).filter((one) => one.value !== null);
  const names = page.cost.map(costName);
  const bars = (title, label, rows, unit, fill) => plot({
    title, label,
    draw: () => ({
      height: 40 + 24 * names.length, marginLeft: roomFor(names), marginRight: 20, marginBottom: 34,
      x: { label: null, grid: true, ticks: 4, tickFormat: (value) => scaled(value, unit) }, y: { label: null, domain: names, tickFormat: shortened() },
      color: { type: "identity" },
      marks: [
        Plot.barX(rows, { x: "value", y: "name", fill, insetTop: 2, insetBottom: 2, title: (one) => `${one.name}${one.what ? `, ${one.what}` : ""}: ${scaled(one.value, unit)}`, tip: true }),
        Plot.ruleX([0]),
      ],
    }),
  });
  const of = (field) => page.cost.map((one) => ({ name: costName(one), value: one[field], of: one })).filter((one) => one.value !== null);
  const own = (one) => colour(one.of.method);
  const heads = ["trained", "trainings", { label: "parameters", title: "needed to serve a model" }, { label: "training only", title: "parameters that only training needs, such as communication modules" }, { label: "FLOPs a row", title: "floating-point operations of a training step, a row of its batch" }, { label: "FLOPs a training", title: "a row's, times rows, times epochs" }, "epochs", { label: "time", title: "wall time, mean" }, { label: "CPU", title: "CPU time, mean" }, { label: "step memory", title: "what a step keeps, by its shapes" }, { label: "peak memory", title: "of the whole process, stages beside it included" }];
  return [
    h("div", { class: "grid wide" },
      bars("Parameters: serving, and beside it those that only training needs", "Parameters by method", parameters, "", (one) => (one.what === "serving" ? own(one) : "var(--faint)")),
      of("training_flops").length > 0 ? bars("Floating-point operations of a training", "Floating-point operations of a training by method", of("training_flops"), "", own) : null,
      bars("Wall time of a training", "Seconds of a training by method", of("seconds"), "s", own)),
    table({ id: "cost-table", caption: "Cost, mean over the trainings of each method", heads, rows: page.cost.map((one) => [
      costName(one), one.trainings,
      ...[one.serving_parameters, one.training_parameters, one.row_flops, one.training_flops].map((value) => cell(value, scaled(value, ""))),
      cell(one.epochs, one.epochs === null ? NONE : one.epochs.toFixed(1)),
      cell(one.seconds, duration(one.seconds)), cell(one.cpu_seconds, duration(one.cpu_seconds)),
      cell(one.step_memory, scaled(one.step_memory, "B")), cell(one.peak_memory, scaled(one.peak_memory, "B")),
    ]) }),
  ];
}

const MONITORS = [
  ["deep_share", "Share of the prediction's variance that comes from the deep path", "0: the model predicts by its bias terms alone."],
  ["deep_sd", "Standard deviation of the deep path, in rating units", "Crosses: collapsed to a constant."],
  ["decoded_state_ratio", "What the teacher hears: error of its decoded state over that state's variance", "1 or more: it tells the teacher no more than its average state would."],
];

/** The trainings that have something to watch, with what was seen. */
function monitored() {
  return page.instances.flatMap((instance) => {
    const stage = page.stages[instance.stage];
    const seen = Object.fromEntries(MONITORS.map(([name]) => [name, instance.metrics[stage.metrics.indexOf(name)] ?? null]));
    if (MONITORS.every(([name]) => seen[name] === null)) return [];
    const method = instance.labels[page.axes.columns] ?? null;
    return [{ ...seen, name: instance.name, group: method ?? stage.name, method, collapsed: instance.collapsed }];
  });
}

/** Whether something collapsed: a mark for each training. */
function drawMonitors() {
  const all = monitored();
  const groups = inOrder(page.axes.columns, all.map((one) => one.group));
  const strip = ([name, title, note]) => {
    const rows = all.filter((one) => one[name] !== null);
    if (rows.length === 0) return null;
    const own = groups.filter((group) => rows.some((one) => one.group === group));
    return plot({
      title, note, label: `${title}, a mark for each of ${plural(rows.length, "training")}, by method`,
      draw: () => ({
        height: 46 + 24 * own.length, marginLeft: roomFor(own), marginRight: 16, marginBottom: 34,
        x: { label: null, grid: true, zero: true, ticks: 5 }, y: { label: null, domain: own, tickFormat: shortened() },
        color: { type: "identity" }, symbol: { type: "identity" },
        marks: [
          Plot.ruleX([name === "decoded_state_ratio" ? 1 : 0], { stroke: "var(--neutral)", strokeDasharray: name === "decoded_state_ratio" ? "4 3" : null }),
          Plot.dot(rows, { x: name, y: "group", r: 4, stroke: (one) => colour(one.method), strokeWidth: 1.6, symbol: (one) => (one.collapsed ? "times" : "circle"), strokeOpacity: rows.length > 300 ? 0.4 : 0.85, title: (one) => `${one.name}\n${name} ${figure(one[name])}${one.collapsed ? "\ncollapsed" : ""}`, tip: true }),
        ],
      }),
    });
  };
  const counts = groups.map((group) => [group, all.filter((one) => one.group === group)]).map(([group, own]) => [group, own.length, own.filter((one) => one.collapsed).length]);
  return [
    h("div", { class: "grid wide" }, MONITORS.map(strip)),
    table({ id: "monitor-table", caption: "Trainings whose deep path collapsed to a constant", heads: ["method", "trainings", "collapsed"], rows: counts }),
  ];
}

/** A sweep: how its points stand, and its numbers. */
function drawSweep() {
  const sweep = page.sweep;
  const { done, cached, failed, left } = sweep.tally;
  const parts = [
    facts([["points", sweep.points.length.toLocaleString("en")], ["done", done], ["cached", cached], ["failed", failed], ["left", left], ["over", sweep.params.join(", ")], ["seeds", sweep.seed]]),
  ];
  if (sweep.numbers && sweep.numbers.lines.length > 0) parts.push(...drawNumbers(sweep));
  const rows = sweep.points.map((point) => [point.point, ...point.values.map((value) => (value !== null && typeof value === "object" ? JSON.stringify(value) : value)), badge(point.state), point.because?.split("\n")[0] ?? ""]);
  parts.push(h("details", { open: sweep.tally.failed > 0 || !sweep.numbers }, h("summary", null, `All ${plural(sweep.points.length, "point")}`), table({ id: "points-table", caption: "Points", heads: ["point", ...sweep.params, "state", "because"], rows })));
  return parts;
}

function drawNumbers(sweep) {
  const { heads, lines, notes } = sweep.numbers;
  const swept = sweep.params.filter((param) => param !== sweep.seed && heads.includes(param));
  const others = heads.filter((head) => !swept.includes(head));
  const several = lines.some((line) => line.n > 1);
  const metrics = [...new Set(lines.map((line) => line.metric))];
  const place = h("div", { class: "grid wide" });
  const at = (line, head) => line.cells[heads.indexOf(head)];
  const method = (line) => (others.includes(page.axes.columns) ? at(line, page.axes.columns) : null);
  const draw = (param) => {
    const numeric = lines.every((line) => at(line, param) !== "" && Number.isFinite(Number(at(line, param))));
    const x = (line) => (numeric ? Number(at(line, param)) : at(line, param));
    const values = [...new Set(lines.map(x))];
    // Values such as 0.001, 0.01, 0.1 are read by their orders of magnitude.
    const log = numeric && values.length > 2 && Math.min(...values) > 0 && Math.max(...values) / Math.min(...values) > 50;
    const facet = others.filter((head) => head !== page.axes.columns);
    const groups = d3.groups(lines.filter((line) => line.mean !== null), (line) => [...(metrics.length > 1 ? [line.metric] : []), ...facet.map((head) => at(line, head))].filter(Boolean).join(" · "));
    place.replaceChildren(...groups.slice(0, 24).map(([name, own]) => plot({
      title: [name || metrics[0], `by ${param}`].join(" "),
      label: `${name || metrics[0]} by ${param}, a mark for each of ${plural(own.length, "setting")}`,
      draw: () => ({
        height: 250, marginLeft: 52, marginBottom: 36,
        x: { label: param, type: numeric ? (log ? "log" : "linear") : "point", ticks: 5, ...(numeric ? {} : { domain: values }) }, y: { label: null, grid: true, nice: true, ticks: 5 },
        color: { type: "identity" },
        marks: [
          several && own.length <= 300 ? Plot.ruleX(own, { x, y1: (line) => line.mean - (line.sd ?? 0), y2: (line) => line.mean + (line.sd ?? 0), stroke: (line) => colour(method(line)), strokeOpacity: 0.45 }) : null,
          Plot.dot(own, { x, y: "mean", r: own.length > 300 ? 2 : 3.2, fill: (line) => colour(method(line)), fillOpacity: own.length > 300 ? 0.5 : 0.9 }),
          Plot.tip(own, Plot.pointer({ x, y: "mean", title: (line) => `${heads.map((head, at) => `${head} ${line.cells[at]}`).join("\n")}\n${line.metric} ${figure(line.mean)}${line.sd === null ? "" : ` ± ${figure(line.sd)} (n = ${line.n})`}` })),
        ],
      }),
    })));
  };
  const parts = [];
  if (swept.length > 0) {
    parts.push(choice("swept", "Parameter", swept, draw), legend(inOrder(page.axes.columns, lines.map(method).filter(Boolean))), place);
    draw(chosen.get("swept") ?? swept[0]);
  }
  parts.push(table({
    id: "numbers-table", caption: several ? "Numbers, mean and standard deviation over seeds and blocks" : "Numbers", head: Math.max(heads.length, 1),
    heads: [...heads, "metric", ...(several ? ["mean", "sd", "n"] : ["value"])],
    rows: lines.map((line) => [...line.cells.map((text) => (text !== "" && Number.isFinite(Number(text)) ? { value: Number(text), text } : text)), line.metric, line.mean, ...(several ? [line.sd, line.n] : [])]),
  }));
  if (notes.length > 0) parts.push(h("p", { class: "quiet" }, notes.join(". "), "."));
  return parts;
}
