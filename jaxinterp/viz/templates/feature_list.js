// The list of features: what is in it, in which order, and which of them is chosen.
const ROW = 28;
let shown = [], chosen = -1, order = new Map();

function densities() {
  const floor = Math.floor(Math.log10(1 / about.tokens)), n = Math.max(1, 4 * -floor), counts = new Array(n).fill(0);
  for (const i of shown) {
    if (about.density[i] > 0) counts[Math.min(n - 1, Math.max(0, Math.floor(4 * (Math.log10(about.density[i]) - floor))))]++;
  }
  const labels = counts.map((_, i) => percent(10 ** (floor + i / 4)) + " to " + percent(10 ** (floor + (i + 1) / 4)) + " of tokens");
  const ends = Array.from({ length: 1 - floor }, (_, i) => "1e" + (floor + i)).filter((_, i) => -floor < 5 || (i + floor) % 2 === 0);
  byId("plot").replaceChildren(bars(counts, labels, ends.length > 1 ? ends : ["", "1e0"], 44, "Histogram: on which share of tokens the listed features fire"));
}

const column = () => about.columns[byId("sort").value] || about.columns[0];
const labelOf = (i) => about.labels[i] || about.fires[i].map(token).join(" ");

function filter() {
  const low = byId("low").value, high = byId("high").value, alive = byId("alive").value;
  const least = low === "" ? 0 : low / 100, most = high === "" ? 1 : high / 100, rank = ranks(byId("search").value);
  shown = [];
  for (let i = 0; i < about.features.length; i++) {
    const d = about.density[i];
    if (rank && rank[i] === 0) { shown.push(i); continue; }
    if (alive === "alive" ? d === 0 : alive === "dead" && d > 0) continue;
    if (d < least || d > most || (rank && rank[i] === 99) || !firesOnText(i)) continue;
    shown.push(i);
  }
  const sign = byId("down").checked ? -1 : 1, values = column().values || about.features;
  const key = (i) => values[i] === null ? -Infinity : values[i];
  shown.sort((a, b) => (rank ? rank[a] - rank[b] : 0) || sign * (key(a) - key(b)) || a - b);
  order = new Map(shown.map((feature, place) => [feature, place]));
  byId("count").textContent = shown.length + " of " + about.features.length + " features" + (rank ? ", exact tokens first" : "");
  byId("space").style.height = shown.length * ROW + "px";
  byId("list").scrollTop = 0;
  headings();
  densities();
  rows();
}

// Headings sort, as they do in a table.
function headings() {
  const now = column(), arrow = byId("down").checked ? " \u2193" : " \u2191";
  const head = (name, at) => button(name + (now === at ? arrow : ""), () => {
    byId("down").checked = now === at ? !byId("down").checked : at !== about.columns[2];
    byId("sort").value = about.columns.indexOf(at);
    filter();
  }, { "aria-label": "Sort by " + at.name });
  byId("heads").replaceChildren(head("number", about.columns[2]), head(now.values ? now.name : "density", now.values ? now : about.columns[0]), make("span", "label, or tokens it fires on"));
}

// Only rows in sight are in the document.
function rows() {
  const list = byId("list"), first = Math.max(0, Math.floor(list.scrollTop / ROW) - 4), now = column();
  const last = Math.min(shown.length, first + Math.ceil((list.clientHeight || 600) / ROW) + 8), found = [];
  const values = now.values || about.density, text = values === about.density ? percent : number;
  for (let place = first; place < last; place++) {
    const i = shown[place];
    const row = make("div", undefined, "fb-row", { role: "option", id: "row-" + place, "aria-selected": String(i === chosen), "aria-setsize": shown.length, "aria-posinset": place + 1 });
    row.dataset.place = place;
    row.append(make("b", about.features[i]), " ", make("i", text(values[i])), " ", make("span", labelOf(i)));
    found.push(row);
  }
  byId("rows").style.top = first * ROW + "px";
  byId("rows").replaceChildren(...found);
  const at = byId("row-" + order.get(chosen));
  if (at) list.setAttribute("aria-activedescendant", at.id); else list.removeAttribute("aria-activedescendant");
}

function reveal(place) {
  const list = byId("list");
  if (place * ROW < list.scrollTop) list.scrollTop = place * ROW;
  if ((place + 1) * ROW > list.scrollTop + list.clientHeight) list.scrollTop = (place + 1) * ROW - list.clientHeight;
}

// Shows a feature. The address names it: "push" adds a step that the back button takes back, "replace" does not.
function choose(i, step) {
  if (i === undefined || i < 0) return;
  chosen = i;
  const address = "#" + about.features[i];
  try {
    if (step === "push" && location.hash !== address) history.pushState(null, "", address);
    else if (step) history.replaceState(null, "", address);
  } catch { /* A page inside of another has no address of its own. */ }
  if (order.has(i)) reveal(order.get(i));
  rows();
  panel();
  shadeText();
}

function goTo(place, step) {
  if (!shown.length) return;
  choose(shown[Math.min(shown.length - 1, Math.max(0, place))], step);
}

const move = (by) => goTo(order.has(chosen) ? order.get(chosen) + by : 0, "replace");

function keys(event) {
  const at = order.has(chosen) ? order.get(chosen) : -1, page = Math.max(1, Math.floor(byId("list").clientHeight / ROW) - 1);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: shown.length - 1 }[event.key];
  if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  goTo(to, "replace");
}

function fromAddress() {
  const name = decodeURIComponent(location.hash.slice(1)), i = /^\d+$/.test(name) ? about.features.indexOf(Number(name)) : -1;
  if (i >= 0) choose(i);
  else if (name) byId("panel").replaceChildren(make("p", "There is no feature " + name + " on these pages."));
  else goTo(0);
}
