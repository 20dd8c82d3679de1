// Rows picked by hand: copied as text or JSON, verified, or put into an evidence file.
import { all, copy, find, say } from "./dom.js";
import { proveRow } from "./verify.js";

const MOST = 200;
const COLUMNS = "index,id,time,received_at,source,action,outcome,status_detail,actor_id,actor_name,actor_email,on_behalf_of,src_ip,target_type,target_id,target_name,dst_host,app,session_id,request_id,reason,message,record";
let last = null;

const rows = () => all("#rows tbody tr");
const picked = () => rows().filter((row) => find(".pick", row)?.checked);

export function startSelect() {
  startCards();
  const bar = find("#picked"), table = find("#rows");
  if (!bar || !table) return;
  table.addEventListener("click", (event) => {
    const box = event.target.closest(".pick");
    if (!box) return;
    const list = rows(), row = box.closest("tr"), from = list.indexOf(last), to = list.indexOf(row);
    if (event.shiftKey && from >= 0) for (const each of list.slice(Math.min(from, to), Math.max(from, to) + 1)) find(".pick", each).checked = box.checked;
    last = row;
    show();
  });
  bar.addEventListener("click", async (event) => {
    const act = event.target.closest("[data-act]")?.dataset.act;
    if (!act) return;
    const chosen = picked();
    if (act === "clear") { for (const row of chosen) find(".pick", row).checked = false; show(); }
    else if (act === "text") copy(chosen.map(asText).join("\n") + "\n", `${chosen.length} rows as text`);
    else if (act === "json") copy(await asJson(chosen), `${chosen.length} records as JSON`);
    else if (act === "prove") {
      const verdicts = await Promise.all(chosen.map(proveRow)), n = verdicts.filter((v) => v === true).length;
      say(n === chosen.length ? `All ${n} proofs hold, computed in this browser` : `${n} of ${chosen.length} proofs hold`);
    }
  });
  show();
}

export function togglePick(row) {
  const box = find(".pick", row);
  if (!box) return false;
  box.checked = !box.checked;
  if (row.closest("[data-cards]")) return showCards();
  last = row;
  show();
}

// Cards are picked in a form that works without this: here its bar says how many, and hides while there are none.
function startCards() {
  const list = find("[data-cards]");
  if (!list) return;
  let before = null;
  list.addEventListener("click", (event) => {
    const box = event.target.closest(".pick");
    if (!box) return;
    const boxes = all(".pick", list), from = boxes.indexOf(before), to = boxes.indexOf(box);
    if (event.shiftKey && from >= 0) for (const each of boxes.slice(Math.min(from, to), Math.max(from, to) + 1)) each.checked = box.checked;
    before = box;
    showCards();
  });
  showCards();
}

function showCards() {
  const chosen = all("[data-cards] .pick:checked"), n = chosen.reduce((sum, box) => sum + box.value.split(" ").length, 0);
  find(".picked-bar").classList.toggle("is-empty", !chosen.length);
  find("[data-picked]").textContent = `${n} ${n === 1 ? "alert" : "alerts"} ticked`;
}

function show() {
  const bar = find("#picked"), chosen = picked();
  bar.hidden = !chosen.length;
  for (const row of rows()) row.classList.toggle("is-picked", Boolean(find(".pick", row)?.checked));
  find("[data-count]", bar).textContent = `${chosen.length} selected`;
  const evidence = find("[data-evidence]", bar);
  if (evidence) evidence.href = evidence.dataset.evidence + chosen.slice(0, MOST).map((row) => row.dataset.index).join(",");
}

// Time, sentence, cells: what the reader sees, parted by tabs.
function asText(row) {
  const cells = all("td:not(.c-time):not(.c-what):not(.c-proof)", row).map((cell) => (find("a, span", cell)?.textContent ?? cell.textContent).replace("–", ""));
  const outcome = find(".outcome .word", row)?.textContent ?? "";
  return [find("time", row).getAttribute("datetime"), outcome, find(".open", row).textContent, ...cells].map((text) => text.replace(/\s+/g, " ").trim()).join("\t");
}

async function asJson(chosen) {
  const list = chosen.slice(0, MOST).map((row) => row.dataset.index).join(" OR ");
  const answer = await fetch(`/api/v1/search?q=${encodeURIComponent(`index:(${list})`)}&limit=${MOST}&columns=${COLUMNS}`);
  if (!answer.ok) { say(`The server answered ${answer.status}`); throw new Error("no records"); }
  return JSON.stringify((await answer.json()).rows, null, 2);
}
