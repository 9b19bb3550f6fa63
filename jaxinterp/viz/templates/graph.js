(() => {
  for (const root of document.querySelectorAll(".ji-graph:not([data-ready])")) {
    root.dataset.ready = "";
    const arcs = [...root.querySelectorAll(".ji-arc")];
    // Thin lines are hard to meet: each gets a wide one that is not seen.
    const hits = arcs.map((arc) => {
      const hit = arc.cloneNode(true);
      hit.setAttribute("class", "ji-hit");
      arc.parentNode.append(hit);
      return hit;
    });
    const nodes = [...root.querySelectorAll(".ji-node")];
    const slide = root.querySelector(".ji-slide");
    const range = slide.querySelector("input");
    const readout = root.querySelector(".ji-readout");
    let chosen = null;
    const draw = () => {
      const most = Number(range.value);
      slide.querySelector("output").textContent = range.value;
      const touched = new Set();
      arcs.forEach((arc, i) => {
        const ends = [arc.dataset.source, arc.dataset.target];
        const seen = Number(arc.dataset.rank) < most && (chosen === null || ends.includes(chosen));
        arc.style.display = hits[i].style.display = seen ? "" : "none";
        if (seen) ends.forEach((name) => touched.add(name));
      });
      for (const node of nodes) {
        node.setAttribute("aria-pressed", String(node.dataset.name === chosen));
        node.style.opacity = touched.has(node.dataset.name) || node.dataset.name === chosen ? 1 : 0.35;
      }
      const count = arcs.filter((arc) => arc.style.display === "").length;
      readout.textContent = chosen === null ? `${count} edges` : `${chosen}: ${count} edges; choose it again for all`;
    };
    const choose = (name) => { chosen = chosen === name ? null : name; draw(); };
    for (const node of nodes) {
      node.addEventListener("click", () => choose(node.dataset.name));
      node.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(node.dataset.name); }
      });
    }
    arcs.forEach((arc, i) => {
      const text = arc.querySelector("title").textContent;
      hits[i].addEventListener("pointerenter", () => { arc.classList.add("ji-on"); readout.textContent = text; });
      hits[i].addEventListener("pointerleave", () => { arc.classList.remove("ji-on"); draw(); });
    });
    range.addEventListener("input", draw);
    slide.hidden = false;
    // Where the window is narrow, the middle is seen first: the logits stand there.
    const scroll = root.querySelector(".ji-scroll");
    scroll.scrollLeft = (scroll.scrollWidth - scroll.clientWidth) / 2;
    draw();
  }
})();
