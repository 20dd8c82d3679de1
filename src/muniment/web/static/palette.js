// Ctrl+K: every page, action and range of this page by name; words that are none of these are a search or a time.
import { all, find, make } from "./dom.js";

const RANGE = /^(\d{1,5} ?[smhdw]|today|yesterday|mtd|last (month|quarter)|\d{4}-\d\d-\d\d)\b/i;

export function startPalette() {
  const dialog = find("#palette");
  if (!dialog) return;
  const input = find("#palette-q"), list = find("#palette-list");
  let shown = [], at = 0;
  const open = () => { if (dialog.open) return; input.value = ""; dialog.showModal(); fill(); };
  find("[data-palette]")?.addEventListener("click", open);
  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() !== "k" || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return;
    event.preventDefault();
    dialog.open ? dialog.close() : open();
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

  function choices() {
    const link = (kind) => (a) => [a.dataset.name ?? a.textContent.replace(/\s+/g, " ").trim(), kind, () => a.click()];
    const menu = (id, words) => (find(id) ? [[words, "action", () => { find(id).open = true; find(`${id} .sheet :is(a, input:not([type=hidden]), button)`)?.focus(); }]] : []);
    return [
      ...all(".top nav a").map(link("page")), ...all(".presets a").map(link("time")),
      ...(find("#live") ? [["Live tail", "action", () => find("#live").click()]] : []),
      ...menu("#time", "Choose a time range"), ...menu("#columns", "Choose columns"), ...menu("#save", "Save this search"), ...menu("#share", "Share this search"),
      ...all("#export .item").map((a) => [`Export ${find("b", a).textContent}`, "action", () => a.click()]),
      ...all("[data-window]").map((a) => [a.title.replace(/ \(.*/, ""), "time", () => a.click()]),
      ...(find("#keys") ? [["Keys", "help", () => find("#keys").showModal()]] : []), ["Query language", "help", () => (location.href = "/help")],
    ];
  }
  function fill() {
    const typed = input.value.trim(), words = typed.toLowerCase().split(/\s+/);
    shown = choices().filter(([name]) => words.every((word) => name.toLowerCase().includes(word)));
    if (typed) {
      const url = new URL("/", location.href);
      const here = new URL(location.href);
      if (RANGE.test(typed)) shown.unshift([`Show ${typed}`, "time", () => { if (here.pathname === "/" && here.searchParams.get("q")) url.searchParams.set("q", here.searchParams.get("q")); url.searchParams.set("typed", typed); location.href = url; }]);
      shown.push([`Search for ${typed}`, "search", () => { if (here.pathname === "/" && here.searchParams.get("when")) url.searchParams.set("when", here.searchParams.get("when")); url.searchParams.set("q", typed); location.href = url; }]);
    }
    shown = shown.slice(0, 14);
    list.replaceChildren(...shown.map(([name, kind], k) => {
      const item = make("li", { role: "option", id: `palette-${k}`, "aria-selected": "false" }, name, make("span", {}, kind));
      item.addEventListener("mousedown", (event) => { event.preventDefault(); run(k); });
      return item;
    }));
    at = 0; mark();
  }
  function mark() {
    [...list.children].forEach((item, k) => item.setAttribute("aria-selected", String(k === at)));
    if (shown.length) { input.setAttribute("aria-activedescendant", `palette-${at}`); list.children[at].scrollIntoView({ block: "nearest" }); } else input.removeAttribute("aria-activedescendant");
  }
  function run(k) { const chosen = shown[k]; if (!chosen) return; dialog.close(); chosen[2](); }
  input.addEventListener("input", fill);
  input.addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (by && shown.length) { at = (at + by + shown.length) % shown.length; mark(); event.preventDefault(); }
    else if (event.key === "Enter") { event.preventDefault(); run(at); }
  });
}
