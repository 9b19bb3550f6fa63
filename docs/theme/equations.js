// Draws the equations that pymdownx.arithmatex has marked: \(inline\) and \[on a line of its own\].
addEventListener("DOMContentLoaded", () => {
  const marked = [...document.querySelectorAll(".arithmatex")];
  for (const place of marked) {
    const text = place.textContent.trim();
    katex.render(text.slice(2, -2), place, { displayMode: text.startsWith("\\["), throwOnError: false });
  }
  // KaTeX breaks an equation after a relation; one that is still wider than its column scrolls in itself.
  const scroll = () => {
    for (const place of marked) place.classList.remove("ji-wide");
    const wide = marked.filter((place) => {
      const room = place.closest("p, li, td, div")?.clientWidth ?? innerWidth;
      return [...place.querySelectorAll(".katex-base")].some((part) => part.offsetWidth > room);
    });
    for (const place of wide) place.classList.add("ji-wide");
  };
  scroll();
  document.fonts?.ready.then(scroll);
  addEventListener("resize", scroll);
});
