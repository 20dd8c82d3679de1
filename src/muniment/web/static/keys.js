// Single keys. Never while typing, never with a modifier but Shift, and not at all when switched off.
import { all, copy, find } from "./dom.js";
import { close as closePanel, isOpen, openRow } from "./panel.js";
import { togglePick } from "./select.js";
import { proveRow } from "./verify.js";

let at = -1;

export function startKeys() {
  const help = find("[data-help]");
  help?.addEventListener("click", (event) => {
    event.preventDefault();
    find("#keys").showModal();
  });
  for (const list of all("#rows, [data-cards]")) list.addEventListener("focusin", (event) => {
    const row = event.target.closest("tbody tr, [data-cards] > li");
    if (row) put(rows().indexOf(row));
  });
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") return close(event);
    if (document.documentElement.dataset.keys === "off") return;
    if (event.target.closest("input:not(.pick), select, textarea, [contenteditable], dialog")) return;
    const act = ACTS[event.shiftKey && event.key.startsWith("Arrow") ? `Shift+${event.key}` : event.key];
    if (act && act(event) !== false) event.preventDefault();
  });
}

const here = () => rows()[at];
const ACTS = {
  "/": () => { const q = find("#q, [data-q]"); if (!q) { location.href = "/"; return; } q.focus(); q.select(); },
  "?": () => find("#keys")?.showModal(),
  t: () => open("#time"),
  d: () => open("#time"),
  e: () => open("#export"),
  w: () => { const why = find("#why"); if (!why) return false; why.focus(); },
  l: () => find("#live")?.click(),
  c: () => { const link = find("[data-share]"); copy(link?.href ?? location.href, link ? "The link, with absolute times," : "The link"); },
  j: () => move(1),
  k: () => move(-1),
  x: () => (here() ? togglePick(here()) : false),
  v: () => { if (here()) proveRow(here()); else find("[data-verify]")?.click(); },
  o: () => { const page = find("#detail [data-page]") ?? (here() && find(".open, .to", here())); if (!page) return false; location.href = page.href; },
  Enter: (event) => { if (!here() || event.target.closest("a, button, summary, input")) return false; find(".open, .to", here()).click(); },
  "+": () => follow("href"),
  "-": () => follow("exclude"),
  "Shift+ArrowLeft": () => shift("earlier"),
  "Shift+ArrowRight": () => shift("later"),
};
const rows = () => all("#rows tbody tr, [data-cards] > li");

function put(k) {
  for (const row of all("#rows tr.is-at, [data-cards] > .is-at")) row.classList.remove("is-at");
  at = k;
  here()?.classList.add("is-at");
}

function move(by) {
  const list = rows();
  if (!list.length) return false;
  put(Math.max(0, Math.min(list.length - 1, at + by)));
  find(".open, .to", list[at]).focus({ preventScroll: true });
  list[at].scrollIntoView({ block: "nearest" });
  if (isOpen()) openRow(list[at]);
}

function shift(where) {
  const link = find(`[data-window=${where}]`);
  if (!link) return false;
  link.click();
}

function open(selector) {
  const menu = find(selector);
  if (!menu) return false;
  menu.open = true;
  find("a, input, button", find(".sheet", menu))?.focus();
}

function follow(which) {
  const link = document.activeElement?.closest("a[data-exclude]") ?? (here() && find("td a[data-exclude]", document.activeElement?.closest("td") ?? here()));
  if (!link) return false;
  location.href = which === "href" ? link.href : link.dataset.exclude;
}

function close(event) {
  const menu = find("details.menu[open]");
  if (menu) { menu.open = false; find("summary", menu).focus(); return; }
  if (event.target.closest("dialog[open]")) return;
  if (event.target.matches("input:not(.pick), select")) { event.target.blur(); return; }
  if (closePanel()) return;
  const back = find("[data-back]");
  if (back && document.documentElement.dataset.keys !== "off") back.click();
}
