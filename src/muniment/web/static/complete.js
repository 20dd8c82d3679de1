// Completion under the query box: a combobox over /api/v1/complete, with the arrow keys; Ctrl+arrows walk the history.
import { find, make } from "./dom.js";

const KEPT = "muniment-history";

export function startCompletion() {
  const input = find("#q");
  if (!input) return;
  input.removeAttribute("list");
  const list = make("ul", { class: "options", id: "q-options", role: "listbox", "aria-label": "Suggestions" });
  list.hidden = true;
  input.after(list);
  for (const [k, v] of Object.entries({ role: "combobox", "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": "q-options" })) input.setAttribute(k, v);
  let found = [], at = -1, asked = 0, timer = 0, back = -1;

  const hide = () => { list.hidden = true; at = -1; input.setAttribute("aria-expanded", "false"); input.removeAttribute("aria-activedescendant"); };
  const mark = () => {
    [...list.children].forEach((item, k) => item.setAttribute("aria-selected", String(k === at)));
    if (at >= 0) { input.setAttribute("aria-activedescendant", `q-option-${at}`); list.children[at].scrollIntoView({ block: "nearest" }); }
  };
  const take = (k) => {
    const s = found[k];
    if (s.kind === "recent") { input.value = s.text; hide(); find("#search").requestSubmit(); return; }
    const text = s.text + (s.kind === "field" || s.text.endsWith(":") ? "" : " ");
    input.setRangeText(text, s.start, Math.max(s.end, s.start), "end");
    hide(); input.focus(); ask();
  };
  const ask = () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      const mine = ++asked;
      const recent = input.value.trim() ? [] : history_().slice(0, 5).map((text) => ({ text, kind: "recent", detail: "asked before", start: 0, end: 0 }));
      try {
        const url = `/api/v1/complete?text=${encodeURIComponent(input.value)}&column=${input.selectionStart}`;
        const answer = await fetch(url, { headers: { accept: "application/json" } });
        if (!answer.ok || mine !== asked || document.activeElement !== input) return hide();
        found = [...recent, ...(await answer.json()).suggestions].slice(0, 12);
      } catch { return hide(); }
      list.replaceChildren(...found.map((s, k) => {
        const item = make("li", { id: `q-option-${k}`, role: "option", "aria-selected": "false" }, s.text, make("span", {}, s.detail));
        item.addEventListener("mousedown", (event) => { event.preventDefault(); take(k); });
        return item;
      }));
      at = -1; list.hidden = !found.length; input.setAttribute("aria-expanded", String(!list.hidden));
    }, 90);
  };
  input.addEventListener("input", ask);
  input.addEventListener("focus", () => { if (!input.value.trim() && history_().length) ask(); });
  input.addEventListener("blur", hide);
  input.addEventListener("keydown", (event) => {
    if (event.ctrlKey && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
      const past = history_();
      back = Math.max(-1, Math.min(past.length - 1, back + (event.key === "ArrowUp" ? 1 : -1)));
      input.value = back < 0 ? "" : past[back];
      event.preventDefault();
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (list.hidden) { ask(); return; }
      at = (at + (event.key === "ArrowDown" ? 1 : -1) + found.length) % found.length; mark(); event.preventDefault();
    } else if ((event.key === "Enter" || event.key === "Tab") && at >= 0 && !list.hidden) { take(at); event.preventDefault(); }
    else if (event.key === "Escape" && !list.hidden) { hide(); event.preventDefault(); }
  });
  find("#search").addEventListener("submit", () => {
    const past = [input.value, ...history_().filter((q) => q !== input.value)].filter(Boolean).slice(0, 30);
    try { sessionStorage.setItem(KEPT, JSON.stringify(past)); } catch { /* a full or closed store only costs the history */ }
  });
}

function history_() {
  try { return JSON.parse(sessionStorage.getItem(KEPT) ?? "[]"); } catch { return []; }
}
