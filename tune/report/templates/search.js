/* The charts, and the table of trials. */
plots((chart) => report.figures[chart.dataset.figure]);
const trials = document.getElementById("trials");
if (trials) {
  const rows = [...trials.tBodies[0].rows].map((row) => new PageRow(row));
  const show = () => {
    trials.tBodies[0].append(...rows.map((row) => row.draw()));
    document.getElementById("shown").textContent = `${rows.length} trials. ${table.orderText()}`;
  };
  const table = sortable(trials, rows, show);
  show();
}
