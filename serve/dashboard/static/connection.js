/* Polls the health of the server and its release: every 10 s, and after a failure first more often. */
import { get, Refused } from "./api.js";
import { button, prose, say } from "./dom.js";
import { plural } from "./format.js";

const EVERY_S = 10;
const FIRST_S = 1;

/* Events: "health" (each response), "release" (another release serves), "back" (the server responds again). */
export const connection = new EventTarget();
let health = null;
let failures = 0;
let timer = null;
let tick = null;

export const healthNow = () => health;
const tell = (name) => connection.dispatchEvent(new Event(name));

function later(seconds) {
  clearTimeout(timer);
  timer = setTimeout(look, 1000 * seconds);
}

function showLost(error, seconds) {
  const place = document.getElementById("connection");
  const reason = error instanceof Refused ? error.message : "The server does not respond. The data shown may be old.";
  const count = document.createElement("span");
  const next = Date.now() + 1000 * seconds;
  const show = () => {
    const left = Math.max(0, Math.round((next - Date.now()) / 1000));
    count.textContent = left ? ` Trying again in ${plural(left, "second")}. ` : " Trying again… ";
  };
  count.setAttribute("aria-live", "off");
  clearInterval(tick);
  show();
  tick = setInterval(show, 1000);
  place.replaceChildren(...prose(reason), count, button("Try now", () => later(0)));
  place.hidden = false;
}

function hideLost() {
  if (!failures) return;
  failures = 0;
  clearInterval(tick);
  document.getElementById("connection").hidden = true;
  say("The server responds again.");
  tell("back");
}

/* Poll now; a view whose request failed calls this too. */
export async function look() {
  clearTimeout(timer);
  const before = health?.release;
  try {
    health = await get("health", { retry: failures === 0 });
  } catch (error) {
    failures += 1;
    const seconds = Math.min(EVERY_S, FIRST_S * 2 ** (failures - 1)) * (0.75 + Math.random() / 2);
    showLost(error, seconds);
    later(seconds);
    return;
  }
  tell("health");
  if (before && before !== health.release) tell("release");
  hideLost();
  later(EVERY_S);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else look();
});
