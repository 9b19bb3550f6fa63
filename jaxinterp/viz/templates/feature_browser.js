"use strict";
// Data come as scripts that call these functions, so that the folder opens without a server.
// Whatever is shown goes in as text, never as markup.
const featureBrowser = (() => {
  const FOLDER = document.currentScript.dataset.folder + "/", ROW = 28, SVG = "http://www.w3.org/2000/svg", byId = (id) => document.getElementById(id);
  let about = null, vocabulary = null, shown = [], chosen = -1, order = new Map();
  const chunks = new Map(), waiting = new Map();

  const make = (tag, text, kind) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (kind) element.className = kind;
    return element;
  };
  const draw = (tag, attributes, text) => {
    const element = document.createElementNS(SVG, tag);
    for (const name in attributes) element.setAttribute(name, attributes[name]);
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const number = (x) => x === null || x === undefined ? "\u2013" : x === 0 ? "0" : Math.abs(x) >= 1e4 || Math.abs(x) < 1e-3 ? x.toExponential(1) : String(Number(x.toPrecision(3)));
  const percent = (x) => x === 0 ? "dead" : number(100 * x) + "%";
  const token = (id) => vocabulary === null || vocabulary[id] === undefined ? "\u27e8" + id + "\u27e9" : vocabulary[id];

  function load(file, key) {
    if (waiting.has(key)) return;
    waiting.set(key, true);
    const script = document.createElement("script");
    script.src = FOLDER + file;
    script.onerror = () => { waiting.delete(key); byId("panel").replaceChildren(make("p", "The file " + FOLDER + file + " could not be read.")); };
    document.body.append(script);
  }

  // A histogram of counts; `label` says what a bar holds.
  function bars(counts, labels, ends, height) {
    const width = 340, low = 16, top = Math.max(1, ...counts), step = width / counts.length;
    const svg = draw("svg", { viewBox: `0 0 ${width} ${height + low}`, width, height: height + low, role: "img" });
    counts.forEach((count, i) => {
      // The square root of a count: a rare tail stays visible.
      const h = count ? Math.max(1.5, height * Math.sqrt(count / top)) : 0;
      const bar = draw("rect", { x: i * step, y: height - h, width: Math.max(1, step - 1), height: h });
      bar.append(draw("title", {}, labels[i] + ": " + count));
      svg.append(bar);
    });
    svg.append(draw("line", { x1: 0, x2: width, y1: height + .5, y2: height + .5 }));
    ends.forEach((text, i) => svg.append(draw("text", { x: i * width / (ends.length - 1), y: height + 12, "text-anchor": i === 0 ? "start" : i === ends.length - 1 ? "end" : "middle" }, text)));
    return svg;
  }

  function densities() {
    const floor = Math.floor(Math.log10(1 / about.tokens)), n = 4 * -floor, counts = new Array(n).fill(0);
    for (const i of shown) if (about.density[i] > 0) counts[Math.min(n - 1, Math.max(0, Math.floor(4 * (Math.log10(about.density[i]) - floor))))]++;
    const labels = counts.map((_, i) => percent(10 ** (floor + i / 4)) + " to " + percent(10 ** (floor + (i + 1) / 4)) + " of tokens");
    const ends = Array.from({ length: 1 - floor }, (_, i) => "1e" + (floor + i)).filter((_, i) => -floor < 5 || (i + floor) % 2 === 0);
    byId("plot").replaceChildren(bars(counts, labels, ends.length > 1 ? ends : ["", "1e0"], 52));
  }

  function filter() {
    const words = byId("search").value.trim().toLowerCase(), low = byId("low").value, high = byId("high").value, alive = byId("alive").value;
    const least = low === "" ? 0 : low / 100, most = high === "" ? 1 : high / 100, digits = /^#?\d+$/.test(words) ? Number(words.replace("#", "")) : null;
    shown = [];
    for (let i = 0; i < about.features.length; i++) {
      const d = about.density[i];
      if (digits !== null && about.features[i] === digits) { shown.push(i); continue; }
      if (alive === "alive" ? d === 0 : alive === "dead" && d > 0) continue;
      if (d < least || d > most) continue;
      if (words && !about.words[i].includes(words)) continue;
      shown.push(i);
    }
    const column = about.columns[byId("sort").value], sign = byId("down").checked ? -1 : 1;
    const value = column.values || about.features;
    shown.sort((a, b) => sign * ((value[a] === null ? -Infinity : value[a]) - (value[b] === null ? -Infinity : value[b])) || a - b);
    if (digits !== null) { const i = shown.findIndex((j) => about.features[j] === digits); if (i > 0) shown.unshift(shown.splice(i, 1)[0]); }
    order = new Map(shown.map((feature, place) => [feature, place]));
    byId("count").textContent = shown.length + " of " + about.features.length + " features";
    byId("space").style.height = shown.length * ROW + "px";
    byId("list").scrollTop = 0;
    densities();
    rows();
  }

  // Only rows in sight are in the document.
  function rows() {
    const list = byId("list"), first = Math.max(0, Math.floor(list.scrollTop / ROW) - 4);
    const last = Math.min(shown.length, first + Math.ceil((list.clientHeight || 600) / ROW) + 8), found = [];
    const column = about.columns[byId("sort").value];
    for (let place = first; place < last; place++) {
      const i = shown[place], row = make("div", undefined, "fb-row");
      row.setAttribute("role", "option");
      row.setAttribute("aria-selected", String(i === chosen));
      row.dataset.place = place;
      row.append(make("b", about.features[i]), make("i", column.values ? column.name === "density" ? percent(column.values[i]) : number(column.values[i]) : percent(about.density[i])), make("span", about.labels[i]));
      found.push(row);
    }
    byId("rows").style.top = first * ROW + "px";
    byId("rows").replaceChildren(...found);
  }

  function choose(i, quiet) {
    if (i === undefined || i < 0) return;
    chosen = i;
    if (!quiet) history.replaceState(null, "", "#" + about.features[i]);
    rows();
    panel();
  }

  function line(example, most) {
    const [value, ids, acts, peak] = example, row = make("div", undefined, "fb-line"), text = make("div", undefined, "fb-text");
    row.append(make("div", number(value), "fb-at"), text);
    const at = new Map();
    for (let i = 0; i < acts.length; i += 2) at.set(acts[i], acts[i + 1]);
    ids.forEach((id, i) => {
      const span = make("span", token(id)), share = at.get(i);
      if (share) {
        span.className = "ji-fill ji-high" + (share > 55 ? " ji-strong" : "");
        span.style.setProperty("--v", share + "%");
        span.title = number(share / 100 * most);
      }
      if (i === peak) span.classList.add("fb-peak");
      text.append(span, document.createElement("wbr"));
    });
    return row;
  }

  function logits(pairs) {
    const table = make("table", undefined, "fb-logits");
    for (let i = 0; i < pairs.length; i += 2) {
      const row = make("tr");
      row.append(make("td", token(pairs[i])), make("td", number(pairs[i + 1])));
      table.append(row);
    }
    return table;
  }

  function panel() {
    const root = byId("panel"), i = chosen;
    if (i < 0) return;
    const chunk = Math.floor(i / about.chunk), found = chunks.get(chunk);
    if (!found || vocabulary === null) {
      root.replaceChildren(make("p", "Loading \u2026"));
      if (!found) load("chunk-" + String(chunk).padStart(5, "0") + ".js", "chunk" + chunk);
      return;
    }
    const feature = found[i % about.chunk], most = about.maximum[i], parts = [];
    const head = make("div"), facts = make("p");
    head.append(make("h2", "Feature " + about.features[i]));
    for (const [name, step] of [["previous", -1], ["next", 1]]) {
      const button = make("button", name);
      button.type = "button";
      button.addEventListener("click", () => move(step));
      head.append(button, " ");
    }
    facts.textContent = `fires on ${percent(about.density[i])} of ${about.tokens} tokens \u00b7 largest ${number(most)} \u00b7 mean where it fires ${number(feature.mean)}`;
    for (const column of about.columns) if (column.own) facts.textContent += ` \u00b7 ${column.name} ${number(column.values[i])}`;
    parts.push(head, facts);
    if (feature.text) parts.push(make("p", feature.text));
    const pair = make("div", undefined, "fb-pair");
    const block = (title, content) => { const one = make("div"); one.append(make("h3", title), content); pair.append(one); };
    if (feature.up.length) { block("Raises", logits(feature.up)); block("Lowers", logits(feature.down)); }
    if (feature.counts.length) {
      const width = feature.width, labels = feature.counts.map((_, b) => number(b * width) + " to " + number((b + 1) * width));
      block("Activations above 0 (root scale)", bars(feature.counts, labels, ["0", number(feature.counts.length * width)], 90));
    }
    parts.push(pair);
    if (!feature.top.length) parts.push(make("p", "It never fires on these tokens."));
    else { parts.push(make("h3", "Top examples")); parts.push(...feature.top.map((each) => line(each, most))); }
    feature.intervals.forEach((examples, back) => {
      const j = feature.intervals.length - 1 - back, some = feature.intervals[j];
      if (!some.length) return;
      parts.push(make("h3", `From ${number(j / feature.intervals.length * most)} to ${number((j + 1) / feature.intervals.length * most)}`));
      parts.push(...some.map((each) => line(each, most)));
    });
    root.replaceChildren(...parts);
    root.scrollTop = 0;
    root.dataset.feature = about.features[i];
  }

  function move(step) {
    const place = order.has(chosen) ? order.get(chosen) + step : 0;
    if (place < 0 || place >= shown.length) return;
    const list = byId("list");
    if (place * ROW < list.scrollTop) list.scrollTop = place * ROW;
    if ((place + 1) * ROW > list.scrollTop + list.clientHeight) list.scrollTop = (place + 1) * ROW - list.clientHeight;
    choose(shown[place]);
  }

  function fromAddress() {
    const wanted = Number(location.hash.slice(1)), i = location.hash.length > 1 ? about.features.indexOf(wanted) : -1;
    choose(i >= 0 ? i : shown[0], true);
  }

  function summary(given) {
    about = given;
    about.words = about.labels.map((label, i) => (about.features[i] + " " + label + " " + about.search[i]).toLowerCase());
    about.columns = [{ name: "density", values: about.density }, { name: "maximum", values: about.maximum }, { name: "number", values: null }, ...about.scores.map((each) => ({ ...each, own: true }))];
    about.columns.forEach((column, i) => { const option = make("option", column.name); option.value = i; byId("sort").append(option); });
    for (const id of ["search", "low", "high"]) byId(id).addEventListener("input", filter);
    for (const id of ["sort", "down", "alive"]) byId(id).addEventListener("change", filter);
    document.querySelector("form").addEventListener("submit", (event) => { event.preventDefault(); choose(shown[0]); });
    byId("list").addEventListener("scroll", rows, { passive: true });
    addEventListener("resize", rows);
    addEventListener("hashchange", fromAddress);
    byId("rows").addEventListener("click", (event) => { const row = event.target.closest(".fb-row"); if (row) choose(shown[row.dataset.place]); });
    byId("list").addEventListener("keydown", (event) => { const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]; if (step) { event.preventDefault(); move(step); } });
    load("tokens.js", "tokens");
    filter();
    fromAddress();
  }

  return {
    summary,
    tokens: (given) => { vocabulary = given; panel(); },
    chunk: (at, given) => { chunks.set(at, given); if (chosen >= 0 && Math.floor(chosen / about.chunk) === at) panel(); },
  };
})();
