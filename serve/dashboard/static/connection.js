/* Whether the server is there, and which release it serves: asked every few seconds, at once when it is gone and then
   ever more rarely, but never more rarely than while it is there. */
import { get, Refused } from "./api.js";
import { button, prose, say } from "./dom.js";
import { plural } from "./format.js";

const EVERY_S = 10;
const FIRST_S = 1;

/* Tells of "health" (each answer), "release" (another one serves) and "back" (after it was gone). */
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

function gone(error, seconds) {
  const place = document.getElementById("connection");
  const reason = error instanceof Refused ? error.message : "The server does not answer. What is shown may be old.";
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

function there() {
  if (!failures) return;
  failures = 0;
  clearInterval(tick);
  document.getElementById("connection").hidden = true;
  say("The server answers again.");
  tell("back");
}

/* Ask now; a view whose question failed calls this, too. */
export async function look() {
  clearTimeout(timer);
  const before = health?.release;
  try {
    health = await get("health", { patient: failures === 0 });
  } catch (error) {
    failures += 1;
    const seconds = Math.min(EVERY_S, FIRST_S * 2 ** (failures - 1)) * (0.75 + Math.random() / 2);
    gone(error, seconds);
    later(seconds);
    return;
  }
  tell("health");
  if (before && before !== health.release) tell("release");
  there();
  later(EVERY_S);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else look();
});
