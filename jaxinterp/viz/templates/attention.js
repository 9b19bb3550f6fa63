(() => {
  // The weight of a head at a query and a key, out of 16-bit shares; null where there is none.
  const unpack = (data) => {
    const bytes = Uint8Array.from(atob(data.weights), (c) => c.charCodeAt(0));
    const shares = new Uint16Array(bytes.buffer), count = data.tokens.length;
    const size = data.causal ? count * (count + 1) / 2 : count * count;
    return (head, query, key) => {
      if (data.causal && key > query) return 0;
      const share = shares[head * size + (data.causal ? query * (query + 1) / 2 + key : query * count + key)];
      return share === 65535 ? null : share / 65534;
    };
  };
  const write = (w) => w === null ? "no value" : w > 0 && w < .001 ? "under 0.001" : String(Number(w.toFixed(3)));
  const FLIPS = {{ flips|tojson }};

  // Buttons with pictures of heads: one is pressed, or several where a box says so.
  const chooser = (root, changed) => {
    const buttons = [...root.querySelectorAll(".ji-head")], several = root.querySelector(".ji-several");
    const layer = root.querySelector(".ji-layer");
    const chosen = () => buttons.flatMap((b, i) => b.getAttribute("aria-pressed") === "true" ? [i] : []);
    const press = (which) => buttons.forEach((b, i) => {
      b.setAttribute("aria-pressed", String(which.includes(i)));
      b.tabIndex = i === which[0] ? 0 : -1;
    });
    const drawn = () => { changed(); };
    buttons.forEach((button, index) => button.addEventListener("click", () => {
      const now = chosen();
      if (!several || !several.checked) press([index]);
      else if (!now.includes(index)) press([...now, index]);
      else if (now.length > 1) press(now.filter((i) => i !== index));
      drawn();
    }));
    if (layer) layer.addEventListener("change", () => {
      buttons.forEach((b) => { b.hidden = layer.value !== "" && b.dataset.layer !== layer.value; });
      if (chosen().some((i) => buttons[i].hidden)) press([buttons.findIndex((b) => !b.hidden)]);
      drawn();
    });
    if (several) several.addEventListener("change", () => { if (!several.checked) press([chosen()[0]]); drawn(); });
    return { chosen, buttons };
  };

  for (const root of document.querySelectorAll(".ji-attention:not([data-ready])")) {
    root.dataset.ready = "";
    const data = JSON.parse(root.querySelector("script").textContent), weight = unpack(data);
    const { tokens, positions, names, cell } = data;
    const svg = root.querySelector(".ji-big svg"), scroll = root.querySelector(".ji-big .ji-scroll");
    const image = svg.querySelector("image"), cursor = svg.querySelector(".ji-cursor");
    const readout = root.querySelector(".ji-readout");
    let at = null;
    const say = () => {
      const name = document.createElement("b"), head = heads.chosen()[0];
      name.textContent = names[head];
      cursor.setAttribute("visibility", at ? "visible" : "hidden");
      if (!at) { readout.replaceChildren(name); return; }
      const [query, key] = at;
      cursor.setAttribute("x", image.x.baseVal.value + key * cell);
      cursor.setAttribute("y", image.y.baseVal.value + query * cell);
      readout.replaceChildren(name, `  ${tokens[query]} (${positions[query]}) reads ${tokens[key]} (${positions[key]}): ${write(weight(head, query, key))}`);
    };
    const heads = chooser(root, () => {
      image.setAttribute("href", heads.buttons[heads.chosen()[0]].querySelector("img").src);
      say();
    });
    image.addEventListener("pointermove", (event) => {
      const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      const key = Math.floor((place.x - image.x.baseVal.value) / cell), query = Math.floor((place.y - image.y.baseVal.value) / cell);
      if (tokens[query] === undefined || tokens[key] === undefined) return;
      at = [query, key];
      say();
    });
    image.addEventListener("pointerleave", () => { at = null; say(); });
    const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    scroll.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { at = null; say(); return; }
      const move = MOVES[event.key];
      if (!move) return;
      event.preventDefault();
      const inside = (i) => Math.min(Math.max(i, 0), tokens.length - 1);
      at = at ? [inside(at[0] + move[0]), inside(at[1] + move[1])] : [tokens.length - 1, tokens.length - 1];
      say();
      cursor.scrollIntoView({ block: "nearest", inline: "nearest" });
    });
    scroll.addEventListener("blur", () => { at = null; say(); });
  }

  for (const root of document.querySelectorAll(".ji-attention-text:not([data-ready])")) {
    root.dataset.ready = "";
    const data = JSON.parse(root.querySelector("script").textContent), weight = unpack(data);
    const { positions, names } = data;
    const items = [...root.querySelectorAll(".ji-tok")];
    const which = root.querySelector(".ji-which"), stretch = root.querySelector(".ji-stretch");
    const readout = root.querySelector(".ji-readout"), lists = root.querySelector(".ji-two");
    const name = (i) => `${data.tokens[i]} (${positions[i]})`;
    let kept = items.length - 1, over = null;
    const list = (heading, weights) => {
      const box = document.createElement("div"), title = document.createElement("b"), rows = document.createElement("ol");
      title.textContent = heading;
      const best = weights.map((w, i) => [w, i]).filter(([w]) => w > 0).sort((a, b) => b[0] - a[0]).slice(0, 6);
      for (const [w, i] of best) {
        const row = document.createElement("li");
        row.textContent = `${write(w)}  ${name(i)}`;
        rows.append(row);
      }
      box.append(title, best.length ? rows : document.createElement("br"), best.length ? "" : "nothing");
      return [box, best.slice(0, 3).map(([w, i]) => `${name(i)} ${write(w)}`).join(", ") || "nothing"];
    };
    const draw = () => {
      const at = over === null ? kept : over, chosen = heads.chosen();
      const mean = (query, key) => {
        let total = 0;
        for (const head of chosen) { const w = weight(head, query, key); if (w === null) return null; total += w; }
        return total / chosen.length;
      };
      const to = items.map((_, key) => mean(at, key)), from = items.map((_, query) => mean(query, at));
      const one = which.value !== "from", other = which.value !== "to";
      const drawn = items.map((_, i) => [one ? to[i] : null, other && i !== at ? from[i] : null]);
      const most = stretch.checked ? Math.max(1e-9, ...drawn.flat().map((w) => w || 0)) : 1;
      items.forEach((item, i) => {
        const [reads, read] = drawn[i], side = (read || 0) > (reads || 0) ? "low" : "high";
        const percent = Math.min(100, 100 * Math.max(reads || 0, read || 0) / most);
        item.classList.toggle("ji-high", side === "high");
        item.classList.toggle("ji-low", side === "low");
        item.classList.toggle("ji-strong", percent > FLIPS[side][0]);
        item.classList.toggle("ji-strong-dark", percent > FLIPS[side][1]);
        item.classList.toggle("ji-at", i === at);
        item.style.setProperty("--v", percent.toFixed(1) + "%");
        item.setAttribute("aria-pressed", String(i === kept));
        item.removeAttribute("title");
        item.dataset.tip = `${name(i)}\nis attended to: ${write(to[i])}\nattends to it: ${write(from[i])}`;
      });
      for (const end of root.querySelectorAll(".ji-most")) end.textContent = write(most);
      const label = chosen.length === 1 ? `head ${names[chosen[0]]}` : `mean of ${chosen.length} heads`;
      const [first, attends] = list(`${name(at)} attends to`, to);
      const [second, attended] = list(`attend to ${name(at)}`, from.map((w, i) => i === at ? 0 : w));
      lists.replaceChildren(...(one ? [first] : []), ...(other ? [second] : []));
      readout.textContent = `${label}, ${name(at)}` + (one ? `; attends to ${attends}` : "") + (other ? `; attended from ${attended}` : "");
    };
    const heads = chooser(root, draw);
    items.forEach((item, i) => {
      item.addEventListener("pointerenter", () => { over = i; draw(); });
      item.addEventListener("pointerleave", () => { over = null; draw(); });
      item.addEventListener("focus", () => { over = i; draw(); });
      item.addEventListener("blur", () => { over = null; draw(); });
      item.addEventListener("click", () => { kept = i; draw(); });
    });
    which.addEventListener("change", draw);
    stretch.addEventListener("change", draw);
    draw();
  }
})();
