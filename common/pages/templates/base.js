"use strict";
/* Shared by all pages: the data, and tables that sort by a click on a heading. */
const report = JSON.parse(document.getElementById("report-data").textContent);
const every = (selector, root = document) => [...root.querySelectorAll(selector)];
const named = ({ dataset: { k, h } }) => `${k} ${h ?? ""}`;

/* A row of the page. */
class PageRow {
  constructor(element) { Object.assign(this, { element, data: element.dataset }); }

  draw() { return this.element; }

  cell(head) { return [...this.element.cells].find((cell) => named(cell) === named(head)); }

  /* data-sort, the number in data-v, or the text of the cell; null if there is none. */
  value(head) {
    const cell = this.cell(head);
    if (cell.dataset.sort !== undefined) return cell.dataset.sort;
    if (cell.dataset.v !== undefined) return Number(cell.dataset.v);
    return cell.querySelector("[aria-hidden]") ? null : cell.textContent;
  }
}

/* Sorts rows in place by a heading and shows them; rows without a value stay last. */
function sortable(table, rows, show) {
  const heads = [...table.tHead.rows[0].cells];
  const sorted = { head: heads.find((head) => head.getAttribute("aria-sort") === "ascending"), down: false };
  const order = new Intl.Collator("en", { numeric: true });

  function sort() {
    const sign = sorted.down ? -1 : 1;
    const keyed = rows.map((row) => [row.value(sorted.head), row]);
    keyed.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * (typeof a === "number" && typeof b === "number" ? a - b : order.compare(a, b));
    });
    rows.splice(0, rows.length, ...keyed.map(([, row]) => row));
    for (const head of heads) {
      head.setAttribute("aria-sort", head !== sorted.head ? "none" : sorted.down ? "descending" : "ascending");
    }
    show();
  }

  function orderText() {
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
  return { heads, sorted, sort, orderText };
}
