// Starts what each page offers beyond plain HTML. Everything here is an addition: without it the page still works.
// Text from the log only ever becomes text nodes; no module builds markup from strings.
import { startKeys } from "./keys.js";
import { startCompletion } from "./complete.js";
import { startHistogram } from "./histogram.js";
import { startLive } from "./live.js";
import { startPalette } from "./palette.js";
import { startPanel } from "./panel.js";
import { startSelect } from "./select.js";
import { startVerify } from "./verify.js";
import { startSmall } from "./small.js";

document.documentElement.classList.add("has-js");
for (const start of [startSmall, startKeys, startCompletion, startHistogram, startLive, startVerify, startPanel, startSelect, startPalette]) start();
