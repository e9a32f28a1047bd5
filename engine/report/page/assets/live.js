// A page that is served: what happens in the run is shown as it happens. Events change states at once; numbers and plots come with the
// whole document, which is asked for anew when something has ended, but not more often than every two seconds.

const PACE = 2000;

/** Changes an instance as an event says. */
function hear(event) {
  const instance = event.index === undefined ? null : page.instances.find((one) => one.index === event.index);
  if (event.event === "run_finished") return true;
  if (!instance) return event.event !== "run_started" && event.index !== undefined;
  switch (event.event) {
    case "cached": instance.state = "cached"; break;
    case "waiting": instance.state = "waiting"; break;
    case "started": instance.state = "running"; break;
    case "progressed": instance.progress = event.progress; instance.state = "running"; return false;
    case "finished": instance.state = "ran"; instance.seconds = event.seconds; instance.progress = null; break;
    case "failed": instance.state = event.retry ? "running" : "failed"; break;
    case "skipped": instance.state = "skipped"; break;
    default: return false;
  }
  return ["cached", "finished", "failed", "skipped"].includes(event.event);
}

/** Shows states as they are now; several changes at once are shown together. */
const showStates = (() => {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      boxes.forEach((box) => box.update());
      drawTop();
    });
  };
})();

function follow() {
  const note = h("p", { class: "live", role: "status" }, "live");
  const say = (text, kind) => {
    note.textContent = text;
    note.className = `live ${kind}`;
  };
  document.body.prepend(note);
  let last = 0;
  let waiting = null;
  const refresh = () => {
    if (waiting) return;
    waiting = setTimeout(async () => {
      try {
        const answer = await fetch(`/run/${live.run}/page.json`);
        if (answer.ok) {
          const before = page;
          page = await answer.json();
          // What is at work says how far it is in events only.
          for (const one of page.instances) if (one.state === "running") one.progress = before.instances.find((old) => old.index === one.index)?.progress;
          drawPage();
        }
      } catch {
        // The stream says that the server is gone.
      }
      last = Date.now();
      waiting = null;
    }, Math.max(0, last + PACE - Date.now()));
  };
  const events = new EventSource(`/run/${live.run}/events?from=${live.from}`);
  events.onopen = () => say("live", "on");
  events.onerror = () => say("the server does not answer", "off");
  events.onmessage = (message) => {
    if (hear(JSON.parse(message.data))) refresh();
    showStates();
  };
  events.addEventListener("end", () => {
    say("ended", "over");
    refresh();
  });
  events.addEventListener("newer", (message) => {
    if (live.follow) location.reload();
    else note.replaceChildren("a newer run began: ", h("a", { href: `/run/${message.data}` }, message.data));
  });
}

/** Where there is no run yet: looks for one. */
function waitForOne() {
  const look = async () => {
    try {
      const answer = await fetch("/runs.json");
      if (answer.ok && (await answer.json()).length > 0) return location.reload();
    } catch {
      // It may come back.
    }
    setTimeout(look, 1000);
  };
  document.getElementById("head").replaceChildren(h("h1", null, "No run yet"), h("p", { class: "sub", role: "status" }, "This page shows the first one as soon as it begins: ", h("code", null, "talkflow run")));
  look();
}
