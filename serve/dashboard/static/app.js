/* The page: which view is shown, what is said above and below it, and when it is drawn anew. */
import { get, Unreachable } from "./api.js";
import { connection, healthNow, look } from "./connection.js";
import { every, h, prose, say } from "./dom.js";
import { day, useZone } from "./format.js";
import { searchBox } from "./search.js";
import { failed } from "./states.js";
import { follow } from "./theme.js";
import { title } from "./title.js";

/* Fetched when first shown, and all of them once there is time: then a view needs the server for its figures alone. */
const VIEWS = {
  market: () => import("./views/market.js"),
  stock: () => import("./views/stock.js"),
  performance: () => import("./views/performance.js"),
  operations: () => import("./views/operations.js"),
};
const place = document.getElementById("view");
let shown = { name: "", stop: new AbortController(), good: true };

/* The address after "#": a view, then what it shows, such as stock/SCOM/5d. */
function address() {
  const [name, ...rest] = location.hash.slice(1).split("/").map(decoded);
  return name in VIEWS ? { name, rest } : { name: "market", rest: [] };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/* A script that could not be fetched; anything else that is wrong with it is ours. */
function missed(error) {
  throw error instanceof TypeError ? new Unreachable("The server does not answer.", { cause: error }) : error;
}

async function show({ moved = false } = {}) {
  const { name, rest } = address();
  shown.stop.abort();
  const stop = new AbortController();
  shown = { name, stop, good: true };
  for (const link of every("nav [data-view]")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const room = h("div", { class: `view ${name}` });
  place.replaceChildren(room);
  if (moved) {
    scrollTo({ top: 0, behavior: "instant" });
    place.focus({ preventScroll: true });
  }
  try {
    const { view } = await VIEWS[name]().catch(missed);
    if (stop.signal.aborted) return;
    const good = await view(room, rest, stop.signal);
    if (stop.signal.aborted) return;
    shown.good = good !== false;
    performance.mark("nsecast:shown");
  } catch (error) {
    shown.good = false;
    if (!stop.signal.aborted) room.replaceChildren(failed(error, show));
  }
}

function banners() {
  const health = healthNow();
  const found = [];
  if (health.synthetic) {
    found.push(h("p", { class: "banner synthetic" }, h("strong", {}, "Synthetic data."),
      " Every price here was invented and says nothing about a real stock."));
  }
  if (health.quick) {
    found.push(h("p", { class: "banner quick" }, h("strong", {}, "Quick release."),
      " Trained briefly, to try things out: not to be quoted."));
  }
  for (const problem of health.problems) found.push(h("p", { class: "banner trouble" }, h("strong", {}, "Degraded."), " ", prose(problem)));
  const bar = document.getElementById("banners");
  if (bar.textContent !== found.map((each) => each.textContent).join("")) bar.replaceChildren(...found);
  title();
  document.getElementById("release").replaceChildren(
    "Release ", h("code", {}, health.release), `, prices to ${day(health.data_end)}.`);
}

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address says which view is shown
  place.focus();
});
addEventListener("hashchange", () => show({ moved: true }));
connection.addEventListener("health", () => {
  banners();
  if (useZone(healthNow().timezone)) show();
});
connection.addEventListener("release", () => {
  say(`Release ${healthNow().release} is in production now. The view is drawn anew.`);
  show();
});
connection.addEventListener("back", () => {
  if (!shown.good) show();
});

const findAmong = searchBox(document.getElementById("search"));

/* The stocks that can be searched; without an answer asked again when the server is back. */
function listStocks() {
  get("models/available").then(
    (found) => findAmong(found.models),
    () => connection.addEventListener("back", listStocks, { once: true }));
}

connection.addEventListener("release", listStocks);
follow(document.getElementById("appearance"));
look();
show().then(async () => {
  listStocks();
  await Promise.allSettled(Object.values(VIEWS).map((fetched) => fetched()));
  performance.mark("nsecast:complete");
});
