// Puts the page together, and again where what it shows has changed.

const shown = new Map();

/** What is at the top. */
function drawTop() {
  keepingFocus(() => document.getElementById("head").replaceChildren(...drawHead()));
}

/** Does something to the page without taking away the focus from what is drawn anew. */
function keepingFocus(act) {
  const id = document.activeElement?.id;
  act();
  if (id && document.activeElement?.id !== id) document.getElementById(id)?.focus({ preventScroll: true });
}

/** Draws every section whose part of the document has changed. */
function drawPage() {
  drawTop();
  const main = document.getElementById("content");
  let before = null;
  for (const section of sections) {
    const there = section.when?.() ?? true;
    const text = there ? JSON.stringify(section.uses()) : null;
    const old = shown.get(section.id);
    if (!there) {
      old?.element.remove();
      shown.delete(section.id);
      continue;
    }
    if (old?.text === text) {
      before = old.element;
      continue;
    }
    const element = old?.element ?? h("section", { id: section.id, "aria-labelledby": `${section.id}-title` });
    const open = [...element.querySelectorAll("details")].map((one) => one.open);
    const draw = () => {
      keepingFocus(() => element.replaceChildren(h("h2", { id: `${section.id}-title` }, section.title), section.intro ? h("p", { class: "intro" }, section.intro) : "", ...[section.draw()].flat(Infinity).filter(Boolean)));
      if (old) element.querySelectorAll("details").forEach((one, at) => (one.open = open[at] ?? one.open));
      forget();
    };
    // The first section is there at once, the others as soon as there is time.
    if (before === null) draw();
    else later(draw);
    if (!old) {
      if (before) before.after(element);
      else main.prepend(element);
    }
    shown.set(section.id, { element, text });
    before = element;
  }
  boxes.forEach((box) => box.update());
  redrawDetail?.();
}

document.getElementById("foot").replaceChildren(h("p", { class: "quiet" }, `talkflow ${page?.run.about.talkflow ?? ""}. Plots by Observable Plot ${Plot.version} and D3 ${d3.version}, under the ISC licence.`));
if (page === null) {
  waitForOne();
} else {
  drawPage();
  if (live) follow();
}
