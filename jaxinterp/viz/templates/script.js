(() => {
  // Hover texts are native titles; where scripts run they show at once, in one box that nothing clips.
  if (!window.jaxinterpTips) {
    window.jaxinterpTips = true;
    const tip = document.createElement("div");
    tip.className = "ji-tip";
    tip.hidden = true;
    let over = null;
    const textOf = (element) => {
      if (element.dataset.tip === undefined) {
        const child = element.querySelector(":scope > title");
        element.dataset.tip = child ? child.textContent : element.getAttribute("title");
        if (child) child.remove(); else element.removeAttribute("title");
        if (!child) element.setAttribute("aria-label", element.textContent + ": " + element.dataset.tip);
      }
      return element.dataset.tip;
    };
    const hide = () => { tip.hidden = true; over = null; };
    document.addEventListener("pointermove", (event) => {
      const target = event.target.closest && event.target.closest(
        ".ji-svg rect[data-tip], .ji-svg circle[data-tip], .ji-svg rect:has(> title), .ji-svg circle:has(> title), .ji-hit, .ji-fill[title], .ji-fill[data-tip]");
      if (!target) { hide(); return; }
      if (target !== over) {
        over = target;
        if (!tip.isConnected) document.body.append(tip);
        tip.textContent = textOf(target);
        tip.hidden = false;
      }
      const box = tip.getBoundingClientRect();
      const x = Math.min(event.clientX + 14, innerWidth - box.width - 8);
      const y = event.clientY + 18 + box.height > innerHeight ? event.clientY - box.height - 12 : event.clientY + 18;
      tip.style.left = Math.max(8, x) + "px";
      tip.style.top = Math.max(8, y) + "px";
    });
    document.addEventListener("scroll", hide, { capture: true, passive: true });
  }

  for (const root of document.querySelectorAll(".ji-attention:not([data-ready])")) {
    root.dataset.ready = "";
    const { tokens, names, cell, pattern } = JSON.parse(root.querySelector("script").textContent);
    const buttons = [...root.querySelectorAll(".ji-head")];
    const svg = root.querySelector(".ji-big svg");
    const image = svg.querySelector("image");
    const cursor = svg.querySelector(".ji-cursor");
    const readout = root.querySelector(".ji-readout");
    let head = buttons.findIndex((button) => button.getAttribute("aria-pressed") === "true");
    const say = (text) => {
      const name = document.createElement("b");
      name.textContent = names[head];
      readout.replaceChildren(name, text);
    };
    buttons.forEach((button, index) => button.addEventListener("click", () => {
      buttons[head].setAttribute("aria-pressed", "false");
      head = index;
      button.setAttribute("aria-pressed", "true");
      image.setAttribute("href", button.querySelector("img").src);
      say("");
    }));
    image.addEventListener("pointermove", (event) => {
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      const x0 = image.x.baseVal.value, y0 = image.y.baseVal.value;
      const key = Math.floor((at.x - x0) / cell), query = Math.floor((at.y - y0) / cell);
      const weight = pattern[head][query] && pattern[head][query][key];
      if (weight === undefined) return;
      cursor.setAttribute("x", x0 + key * cell);
      cursor.setAttribute("y", y0 + query * cell);
      cursor.setAttribute("visibility", "visible");
      say(`  ${tokens[query]} (${query}) reads ${tokens[key]} (${key}): ${weight === null ? "no value" : weight}`);
    });
    image.addEventListener("pointerleave", () => { cursor.setAttribute("visibility", "hidden"); say(""); });
  }

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
