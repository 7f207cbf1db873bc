/* The charts, and the table of trials. */
plots((chart) => report.figures[chart.dataset.figure]);
const trials = document.getElementById("trials");
if (trials) {
  const status = document.getElementById("shown");
  const tell = () => { status.textContent = `${table.rows.length} trials. ${table.said()}`; };
  const table = sortable(trials, tell);
  tell();
}
