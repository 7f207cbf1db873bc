/* Placeholders: loading, empty, or an error with the next step. */
import { Refused, Unreachable } from "./api.js";
import { look } from "./connection.js";
import { button, h, prose } from "./dom.js";

export const loading = (what) =>
  h("p", { class: "state loading", role: "status" }, h("span", { class: "spinner", "aria-hidden": "true" }), `Loading ${what}…`);

export const empty = (...text) => h("p", { class: "state" }, ...text);

function advice(error) {
  if (error instanceof Unreachable) return "Check that `nsecast serve` is running. This page retries automatically.";
  if (error.status === 403) return "Use a key with this permission.";
  if (error.status === 404) return "Search for another stock at the top.";
  if (error.status === 422) return "";
  if (error.status >= 500) return "Try again in a while; the server’s log has the reason.";
  return "Load the page again.";
}

export function failed(error, again) {
  const known = error instanceof Refused || error instanceof Unreachable;
  if (!known) console.error(error);
  const message = known ? error.message : `The page itself failed: ${error.message}.`;
  const detail = error.near?.length ? message.replace(/ ?Did you mean [^?]*\?/, "") : message;
  return h(
    "div", { class: "state failed", role: "alert" },
    h("strong", {}, error.title || "This could not be loaded"),
    h("p", {}, prose(`${detail} ${advice(error)}`)),
    error.near?.length
      ? h("p", {}, "Did you mean ", error.near.flatMap((symbol) => [h("a", { href: `#stock/${symbol}` }, symbol), " "]), "?")
      : null,
    error.requestId ? h("p", { class: "note" }, `Request ${error.requestId}`) : null,
    button("Try again", again),
  );
}

/*
 * Fill `place` with the result of `draw` on the data from `load`. The previous content stays until then, dimmed.
 * Resolves to whether this succeeded; changes nothing once `signal` is aborted.
 */
export async function loaded(place, what, load, draw, signal) {
  const again = () => loaded(place, what, load, draw, signal);
  place.setAttribute("aria-busy", "true");
  if (!place.childElementCount || place.querySelector(":scope > .failed")) place.replaceChildren(loading(what));
  try {
    const data = await load();
    if (signal?.aborted) return false;
    const content = draw(data);
    if (content) place.replaceChildren(...[content].flat());
    return true;
  } catch (error) {
    if (signal?.aborted) return false;
    place.replaceChildren(failed(error, again));
    if (error instanceof Unreachable) look();
    return false;
  } finally {
    if (!signal?.aborted) place.removeAttribute("aria-busy");
  }
}
