// Begins when the summary of all features is there.
function start(given) {
  about = given;
  about.columns = [{ name: "density", values: about.density }, { name: "maximum", values: about.maximum }, { name: "number", values: null }, ...about.scores.map((each) => ({ ...each, own: true }))];
  about.columns.forEach((each, i) => { const option = make("option", each.name); option.value = i; byId("sort").append(option); });
  for (const id of ["search", "low", "high"]) byId(id).addEventListener("input", filter);
  for (const id of ["sort", "down", "alive"]) byId(id).addEventListener("change", filter);
  byId("form").addEventListener("submit", (event) => event.preventDefault());
  byId("search").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== "ArrowDown") return;
    event.preventDefault();
    if (event.key === "ArrowDown") byId("list").focus();
    goTo(0, "push");
  });
  byId("list").addEventListener("scroll", rows, { passive: true });
  byId("list").addEventListener("keydown", keys);
  byId("rows").addEventListener("click", (event) => { const row = event.target.closest(".fb-row"); if (row) choose(shown[row.dataset.place], "push"); });
  addEventListener("resize", rows);
  addEventListener("hashchange", fromAddress);
  startText();
  filter();
  fromAddress();
}
