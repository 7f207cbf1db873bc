/* The title of the page, which marks synthetic data. */
import { healthNow } from "./connection.js";

let shown = "Market";

export function title(text = shown) {
  shown = text;
  document.title = `${healthNow()?.synthetic ? "SYNTHETIC " : ""}nsecast · ${shown}`;
}
