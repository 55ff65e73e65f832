// Filters of the ledger's table. The form is hidden in the page, so that without JavaScript
// the whole table shows, and no filter that does nothing. What is chosen stands in the address,
// ledger.html?paper=xu2025&verdict=holds, which can be sent to others.
document.addEventListener("DOMContentLoaded", () => {
  const form = document.querySelector("form.ledger-filters");
  const choices = [...form.querySelectorAll("select")];
  const count = form.querySelector("output"); // read aloud when it changes
  const rows = [...document.querySelectorAll("table.ledger tbody tr")];
  const address = new URL(location);

  function filter() {
    const wanted = choices.filter((choice) => choice.value !== "");
    for (const row of rows) {
      row.hidden = !wanted.every(({ name, value }) => row.classList.contains(`${name}-${value}`));
    }
    count.value = `${rows.filter((row) => !row.hidden).length} of ${rows.length} claims`;
  }

  for (const choice of choices) {
    choice.value = address.searchParams.get(choice.name) ?? "";
    if (choice.selectedIndex < 0) choice.value = ""; // no such choice: all
  }
  form.addEventListener("change", (event) => {
    const { name, value } = event.target;
    address.searchParams.delete(name);
    if (value) address.searchParams.set(name, value);
    history.replaceState(null, "", address);
    filter();
  });
  form.addEventListener("submit", (event) => event.preventDefault()); // Enter must not reload
  filter();
  form.hidden = false;
});
