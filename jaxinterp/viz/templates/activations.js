(() => {
  const FLIPS = {{ flips|tojson }}, MOST = 8;
  const write = (x) => x === null ? "no value" : String(Number(x.toPrecision(3))).replace("-", "−");
  for (const root of document.querySelectorAll(".ji-activations:not([data-ready])")) {
    root.dataset.ready = "";
    const data = JSON.parse(root.querySelector("script").textContent);
    const bytes = Uint8Array.from(atob(data.shares), (c) => c.charCodeAt(0)), shares = new Int16Array(bytes.buffer);
    const box = root.querySelector(".ji-texts"), rows = [...box.querySelectorAll(".ji-strip")];
    const items = [...box.querySelectorAll(".ji-tok")], places = [];
    data.texts.forEach((text, row) => text.forEach((token, i) => places.push({ row, token, pos: data.positions[row][i] })));
    const layerPick = root.querySelector(".ji-layer"), unitPick = root.querySelector(".ji-unit"), sort = root.querySelector(".ji-sort");
    const readout = root.querySelector(".ji-readout"), lists = root.querySelector(".ji-two"), ramp = root.querySelector(".ji-key i");
    const count = items.length, units = data.units.length;
    let unit = unitPick ? Number(unitPick.value) : 0, kept = null, over = null;
    if (data.named && unitPick) {
      unitPick.replaceChildren(...data.units.map((name, i) => new Option(name, i)));
      unitPick.value = unit;
    }
    const layer = () => layerPick ? Number(layerPick.value) : 0;
    const at = (which, place) => {
      const share = shares[(layer() * units + which) * count + place];
      return share === -32768 ? null : share / 32767 * data.most[layer()][which];
    };
    const name = (i) => `${places[i].token} (${places[i].pos})` + (rows.length > 1 ? ` of text ${places[i].row}` : "");
    const full = () => (data.layers.length > 1 || data.layers[0] ? `layer ${data.layers[layer()]}, ` : "") + `unit ${data.units[unit]}`;
    const list = (heading, best, label, act) => {
      const part = document.createElement("div"), title = document.createElement("b"), lines = document.createElement("ol");
      title.textContent = heading;
      for (const [value, i] of best) {
        const line = document.createElement("li"), button = document.createElement("button");
        button.type = "button"; button.className = "ji-go";
        button.textContent = `${write(value)}  ${label(i)}`;
        button.addEventListener("click", () => act(i));
        line.append(button); lines.append(line);
      }
      part.append(title, lines);
      return part;
    };
    const top = (values) => values.map((v, i) => [v, i]).filter(([v]) => v !== null && v !== 0).sort((a, b) => Math.abs(b[0]) - Math.abs(a[0])).slice(0, MOST);
    let values = [];
    const paint = () => {
      values = items.map((_, i) => at(unit, i));
      const real = values.filter((v) => v !== null), low = Math.min(0, ...real), high = Math.max(0, ...real);
      const reach = Math.max(-low, high) || 1, both = low < 0;
      items.forEach((item, i) => {
        const value = values[i], side = value === null ? "none" : value < 0 ? "low" : "high";
        const percent = value === null ? 0 : 100 * Math.abs(value) / reach;
        for (const one of ["high", "low", "none"]) item.classList.toggle("ji-" + one, one === side);
        item.classList.toggle("ji-strong", side !== "none" && percent > FLIPS[side][0]);
        item.classList.toggle("ji-strong-dark", side !== "none" && percent > FLIPS[side][1]);
        item.style.setProperty("--v", percent.toFixed(1) + "%");
        item.removeAttribute("title");
        item.dataset.tip = `${name(i)}: ${write(value)}`;
      });
      ramp.className = both ? "ji-ramp2" : "ji-ramp";
      root.querySelector(".ji-low-end").textContent = write(both ? -reach : 0);
      root.querySelector(".ji-high-end").textContent = write(reach);
      if (sort) {
        const most = rows.map((_, row) => Math.max(0, ...values.filter((v, i) => places[i].row === row && v !== null).map(Math.abs)));
        const order = rows.map((_, i) => i);
        if (sort.checked) order.sort((a, b) => most[b] - most[a] || a - b);
        // Moving a row takes the focus away from a token in it.
        const held = box.contains(document.activeElement) ? document.activeElement : null;
        box.replaceChildren(...order.map((i) => rows[i]));
        if (held) held.focus({ preventScroll: true });
      }
      tell();
    };
    const go = (i) => { kept = i; items[i].scrollIntoView({ block: "nearest" }); items[i].focus({ preventScroll: true }); tell(); };
    const choose = (which) => { unit = which; if (unitPick) unitPick.value = which; paint(); };
    const tell = () => {
      const here = over === null ? kept : over, best = top(values);
      items.forEach((item, i) => { item.classList.toggle("ji-at", i === here); item.setAttribute("aria-pressed", String(i === kept)); });
      const parts = [list(`${full()}: strongest tokens`, best, name, go)];
      if (here !== null && units > 1) parts.push(list(`strongest units at ${name(here)}`, top(data.units.map((_, which) => at(which, here))), (i) => `unit ${data.units[i]}`, choose));
      lists.replaceChildren(...parts);
      readout.textContent = full() + (here !== null ? `, ${name(here)}: ${write(values[here])}` : best.length ? `: strongest ${write(best[0][0])} at ${name(best[0][1])}` : ": 0 at every token");
    };
    items.forEach((item, i) => {
      item.addEventListener("pointerenter", () => { over = i; tell(); });
      item.addEventListener("pointerleave", () => { over = null; tell(); });
      item.addEventListener("focus", () => { over = i; tell(); });
      item.addEventListener("blur", () => { over = null; tell(); });
      item.addEventListener("click", () => { kept = kept === i ? null : i; tell(); });
    });
    if (layerPick) layerPick.addEventListener("change", paint);
    if (sort) sort.addEventListener("change", paint);
    if (unitPick) unitPick.addEventListener("input", () => {
      const which = Number(unitPick.value);
      if (unitPick.value !== "" && Number.isInteger(which) && which >= 0 && which < units) choose(which);
    });
    for (const button of root.querySelectorAll(".ji-step")) button.addEventListener("click", () => choose((unit + Number(button.dataset.by) + units) % units));
    paint();
  }
})();
