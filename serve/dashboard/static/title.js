/* The title of the page: what is shown, and whether it is invented. */
import { healthNow } from "./connection.js";

let shown = "Market";

export function title(text = shown) {
  shown = text;
  document.title = `${healthNow()?.synthetic ? "SYNTHETIC " : ""}nsecast · ${shown}`;
}
