// Filters of the ledger's table. The form is hidden in the page, so that without JavaScript
// the whole table shows, and no filter that does nothing.
document.addEventListener("DOMContentLoaded", () => {
  const form = document.querySelector("form.ledger-filters");
  const choices = [...form.querySelectorAll("select")];
  const count = form.querySelector("output"); // read aloud when it changes
  const rows = [...document.querySelectorAll("table.ledger tbody tr")];

  function filter() {
    const wanted = choices.map((choice) => choice.value).filter((value) => value !== "");
    for (const row of rows) {
      row.hidden = !wanted.every((value) => row.classList.contains(value));
    }
    count.value = `${rows.filter((row) => !row.hidden).length} of ${rows.length} claims`;
  }

  form.addEventListener("change", filter);
  form.addEventListener("submit", (event) => event.preventDefault()); // Enter must not reload
  filter(); // a browser may have kept the choices of an earlier visit
  form.hidden = false;
});
