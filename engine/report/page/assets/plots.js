// What every plot has: a frame with a title, a name for screen readers, drawing anew when its width changes, and only when its turn comes.

const STYLE = { background: "transparent", color: "var(--ink)", fontFamily: "inherit", fontSize: "12px", overflow: "visible", "--plot-background": "var(--surface)" };

/** Plots on the page, each with how it is drawn. */
const drawings = new Map();
const widths = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) {
    const drawing = drawings.get(target);
    const width = Math.floor(contentRect.width);
    if (drawing && width > 0 && drawing.width !== width) {
      drawing.width = width;
      later(drawing.draw);
    }
  }
});

/** Forgets plots that are no longer on the page. */
function forget() {
  for (const target of drawings.keys()) {
    if (!target.isConnected) {
      widths.unobserve(target);
      drawings.delete(target);
    }
  }
}

/**
 * A plot. `label` says in a sentence what it shows; `draw` takes a width and gives the options of `Plot.plot`.
 */
function plot({ title, label, draw, note }) {
  const area = h("div", { class: "area" });
  const drawing = {
    width: 0,
    draw: () => {
      if (!area.isConnected || drawing.width === 0) return;
      const svg = Plot.plot({ width: drawing.width, ...draw(drawing.width), style: STYLE });
      svg.setAttribute("role", "img");
      svg.setAttribute("aria-label", label);
      // What is in a picture is presentational: names of its groups would be names of nothing.
      svg.querySelectorAll("[aria-label], [aria-description], [aria-hidden]").forEach((part) => ["aria-label", "aria-description", "aria-hidden"].forEach((name) => part.removeAttribute(name)));
      area.replaceChildren(svg);
    },
  };
  drawings.set(area, drawing);
  widths.observe(area);
  return h("figure", { class: "plot" }, title ? h("figcaption", null, title) : null, area, note ? h("p", { class: "quiet" }, note) : null);
}

/** Room for the longest of some names, in pixels. */
const roomFor = (names, most = 190) => Math.min(most, 14 + 6.7 * Math.max(0, ...names.map((name) => String(name).length)));

/** A name that fits the room for it. */
const shortened = (most = 26) => (name) => (String(name).length > most ? `${String(name).slice(0, most - 1)}…` : String(name));
