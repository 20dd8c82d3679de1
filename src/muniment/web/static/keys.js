// Single keys. Never while typing, never with a modifier, and not at all when switched off.
import { all, find } from "./dom.js";

let at = -1;

export function startKeys() {
  const help = find("[data-help]");
  help?.addEventListener("click", (event) => {
    event.preventDefault();
    find("#keys").showModal();
  });
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") return close(event);
    if (document.documentElement.dataset.keys === "off") return;
    if (event.target.closest("input, select, textarea, [contenteditable], dialog")) return;
    const act = ACTS[event.key];
    if (act && act(event) !== false) event.preventDefault();
  });
}

const ACTS = {
  "/": () => { const q = find("#q"); if (!q) { location.href = "/"; return; } q.focus(); q.select(); },
  "?": () => find("#keys")?.showModal(),
  t: () => open("#time"),
  e: () => open("#export"),
  l: () => find("#live")?.click(),
  c: () => navigator.clipboard?.writeText(find("[data-share]")?.href ?? location.href),
  j: () => move(1),
  k: () => move(-1),
  Enter: (event) => { const row = rows()[at]; if (!row || event.target.closest("a, button, summary")) return false; find(".open", row).click(); },
  "+": () => follow("href"),
  "-": () => follow("exclude"),
};
const rows = () => all("#rows tbody tr");

function move(by) {
  const list = rows();
  if (!list.length) return false;
  list[at]?.classList.remove("is-at");
  at = Math.max(0, Math.min(list.length - 1, at + by));
  list[at].classList.add("is-at");
  find(".open", list[at]).focus({ preventScroll: true });
  list[at].scrollIntoView({ block: "nearest" });
}

function open(selector) {
  const menu = find(selector);
  if (!menu) return false;
  menu.open = true;
  find("a, input, button", find(".sheet", menu))?.focus();
}

function follow(which) {
  const link = document.activeElement?.closest("a[data-exclude]");
  if (!link) return false;
  location.href = which === "href" ? link.href : link.dataset.exclude;
}

function close(event) {
  const menu = find("details.menu[open]");
  if (menu) { menu.open = false; find("summary", menu).focus(); return; }
  if (event.target.closest("dialog[open]")) return;
  if (event.target.matches("input, select")) { event.target.blur(); return; }
  const back = find("[data-back]");
  if (back && document.documentElement.dataset.keys !== "off") back.click();
}
