(() => {
  // A heading sorts the rows by its column: the largest number first, or texts from a to z; once more turns it around. Cells without a value stay last.
  for (const table of document.querySelectorAll("table[data-sort]:not([data-ready])")) {
    table.dataset.ready = "";
    const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
    const collate = new Intl.Collator(undefined, { numeric: true });
    heads.forEach((head, column) => head.querySelector(".ji-by").addEventListener("click", () => {
      const rows = [...body.rows], before = head.getAttribute("aria-sort");
      const key = (row) => row.cells[column].dataset.key, text = (row) => row.cells[column].textContent;
      const numeric = rows.some((row) => key(row) !== undefined);
      const down = before ? before === "ascending" : numeric, sign = down ? -1 : 1;
      rows.sort((a, b) => {
        if (!numeric) return sign * collate.compare(text(a), text(b));
        const x = key(a), y = key(b);
        if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
        return sign * (Number(x) - Number(y));
      });
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      body.replaceChildren(...rows);
    }));
  }
})();
