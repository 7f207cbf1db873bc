"use strict";
/* For every page: its data, and tables that sort by a click on a heading. */
const report = JSON.parse(document.getElementById("report-data").textContent);
const every = (selector, root = document) => [...root.querySelectorAll(selector)];

/* Sorts by data-sort, the number in data-v, or the text of a cell; what has none of them stays last. */
function sortable(table, told) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const rows = [...body.rows];
  const sorted = { head: heads.find((head) => head.getAttribute("aria-sort") === "ascending"), down: false };
  const order = new Intl.Collator("en", { numeric: true });

  function value(row, place) {
    const cell = row.cells[place];
    if (cell.dataset.sort !== undefined) return cell.dataset.sort;
    if (cell.dataset.v !== undefined) return Number(cell.dataset.v);
    return cell.querySelector("[aria-hidden]") ? null : cell.textContent;
  }

  function sort() {
    const place = heads.indexOf(sorted.head);
    const sign = sorted.down ? -1 : 1;
    const keyed = rows.map((row) => [value(row, place), row]);
    keyed.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * (typeof a === "number" && typeof b === "number" ? a - b : order.compare(a, b));
    });
    body.append(...keyed.map(([, row]) => row));
    for (const head of heads) {
      head.setAttribute("aria-sort", head !== sorted.head ? "none" : sorted.down ? "descending" : "ascending");
    }
    told();
  }

  function said() {
    const orders = sorted.head.classList.contains("number") ? ["smallest first", "largest first"] : ["A to Z", "Z to A"];
    return `Sorted by ${sorted.head.textContent.trim()}, ${orders[Number(sorted.down)]}.`;
  }

  for (const head of heads) {
    head.querySelector("button").addEventListener("click", () => {
      sorted.down = head === sorted.head ? !sorted.down : false;
      sorted.head = head;
      sort();
    });
  }
  return { body, heads, rows, sorted, sort, said };
}
