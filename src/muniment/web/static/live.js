// Live tail: the event stream says that something came; the rows come ready-made as texts from the pages' own address.
// Rows are held while the reader points at the table or has scrolled; a count says how many.
import { find, make } from "./dom.js";

const MOST = 300;
const PATHS = { success: "M3 8.5l3.2 3.2L13 4.8", failure: "M4 4l8 8M12 4l-8 8", unknown: "M5.6 6a2.4 2.4 0 1 1 3.4 2.2c-.7.3-1 .8-1 1.5M8 12.6v.1" };

export function startLive() {
  watchForFirst();
  const button = find("#live");
  if (!button || button.getAttribute("aria-pressed") !== "true") return;
  const held = find("#held"), body = find("#rows tbody"), words = find("[data-words]", button);
  let after = Number(button.dataset.after), waiting = 0, isBusy = false, isPointing = false, isPaused = false, timer = 0;
  const stream = new EventSource(`/api/v1/tail?q=${encodeURIComponent(button.dataset.q)}&after=${after}`);
  const isHolding = () => isPaused || isPointing || scrollY > 240;

  stream.addEventListener("row", () => { waiting += 1; show(); });
  stream.addEventListener("open", () => (words.textContent = "Live"));
  stream.addEventListener("error", () => (words.textContent = "Reconnecting"));
  document.addEventListener("visibilitychange", () => { if (!document.hidden) show(); });
  body.addEventListener("pointerenter", () => { isPointing = true; });
  body.addEventListener("pointerleave", () => { isPointing = false; show(); });
  held.addEventListener("click", () => { isPaused = false; isPointing = false; scrollTo(0, 0); pull(); });

  const pause = make("button", { class: "button js", type: "button", "aria-pressed": "false" }, "Pause");
  button.after(pause);
  pause.addEventListener("click", () => { isPaused = !isPaused; pause.setAttribute("aria-pressed", String(isPaused)); pause.textContent = isPaused ? "Resume" : "Pause"; show(); });

  function show() {
    held.hidden = !(waiting && isHolding());
    held.textContent = `${waiting} new held, show`;
    if (waiting && !isHolding() && !timer) timer = setTimeout(() => { timer = 0; if (!isHolding()) pull(); }, 400);
  }
  async function pull() {
    if (isBusy) return;
    isBusy = true;
    try {
      const url = new URL(button.dataset.rows, location.href);
      url.searchParams.set("after", String(after));
      const answer = await fetch(url);
      if (!answer.ok) return;
      const { rows, horizon } = await answer.json();
      for (const row of rows) {
        if (row.index <= after) continue;
        after = row.index;
        body.prepend(tableRow(row));
      }
      while (body.children.length > MOST) body.lastElementChild.remove();
      waiting = Math.max(0, waiting - rows.length);
      seen(horizon);
    } finally { isBusy = false; show(); }
  }
}

function seen(horizon) {
  const [index, time] = document.querySelectorAll("[data-horizon] b");
  if (index) index.textContent = String(horizon.index - 1).replace(/\B(?=(\d{3})+$)/g, "\u202f");
  if (time) time.textContent = horizon.time;
}

function tableRow(row) {
  const time = make("time", { datetime: row.time }, make("span", { class: "d" }, row.date), " ", row.clock);
  const open = make("a", { class: "open", href: row.url });
  row.pieces.forEach(([kind, text], k) => open.append(...(k ? [" "] : []), make("span", { class: `p-${kind}` }, text)));
  const cells = row.cells.map(([name, style, text, include, exclude]) =>
    make("td", { class: `c-${style}`, "data-label": name }, text ? (include ? make("a", { href: include, "data-exclude": exclude }, text) : text) : make("span", { class: "nil" }, "–")));
  return make("tr", { "data-index": row.index, class: "is-new" },
    make("td", { class: "c-time" }, make("input", { type: "checkbox", class: "pick js", "aria-label": `Select record ${row.index}` }), make("a", { href: row.url, tabindex: "-1" }, time)),
    make("td", { class: "c-what" }, mark(row.outcome), open), ...cells, make("td", { class: "c-proof" }, lock(row.index)));
}

const SPACE = "http://www.w3.org/2000/svg";
function icon(path) {
  const svg = document.createElementNS(SPACE, "svg"), line = document.createElementNS(SPACE, "path");
  for (const [k, v] of Object.entries({ class: "icon", width: 14, height: 14, viewBox: "0 0 16 16", fill: "none", stroke: "currentColor", "stroke-width": 1.8, "stroke-linecap": "round", "aria-hidden": "true" })) svg.setAttribute(k, v);
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

function lock(index) {
  const link = make("a", { class: "lock", href: `/events/${index}/proof`, "data-proof": `/api/v1/events/${index}/proof?format=json`, title: "Sealed in the ledger; press to check it here" },
    icon("M5.4 7V5.2a2.6 2.6 0 0 1 5.2 0V7"), make("span", { class: "sr" }, `Check the proof of record ${index}`));
  const body = document.createElementNS(SPACE, "rect");
  for (const [k, v] of Object.entries({ x: 3.4, y: 7, width: 9.2, height: 6.4, rx: 1.4 })) body.setAttribute(k, v);
  link.firstChild.prepend(body);
  return link;
}

function mark(outcome) {
  const name = outcome in PATHS ? outcome : "unknown";
  const svg = icon(PATHS[name]);
  return make("span", { class: `outcome is-${name}`, title: outcome }, svg, make("span", { class: "word" }, outcome));
}

function watchForFirst() {
  const empty = find("[data-watch]");
  if (!empty) return;
  const stream = new EventSource("/api/v1/tail?q=-source%3Amuniment");
  stream.addEventListener("row", () => location.reload(), { once: true });
}
