// What is known of the chosen feature: explanation, logits, histogram, contexts.
const ALIKE = 8; // contexts with the same tokens up to the peak, so many, are folded into one

function panel() {
  const i = chosen, root = byId("panel");
  root.setAttribute("aria-busy", "true");
  ask(numbered("chunk", Math.floor(i / about.chunk)), (chunk) => {
    if (i !== chosen) return;
    root.setAttribute("aria-busy", "false");
    if (chunk === null) { root.replaceChildren(make("p", "The data of this feature could not be read.")); return; }
    root.replaceChildren(...parts(i, chunk[i % about.chunk]));
    root.scrollTop = 0;
    root.dataset.feature = about.features[i];
    byId("said").textContent = "Feature " + about.features[i] + " is shown.";
  });
}

function parts(i, feature) {
  const most = about.maximum[i], head = make("div", undefined, "fb-name"), title = make("h2"), pair = make("div", undefined, "fb-pair");
  title.append(make("a", "Feature " + about.features[i], "", { href: "#" + about.features[i], title: "A link to this feature" }));
  head.append(title, button("previous", () => move(-1)), " ", button("next", () => move(1)));
  let facts = `fires on ${percent(about.density[i])} of ${about.tokens} tokens \u00b7 largest ${number(most)} \u00b7 mean where it fires ${number(feature.mean)}`;
  for (const each of about.columns) if (each.own) facts += ` \u00b7 ${each.name} ${number(each.values[i])}`;
  const found = [head, make("p", facts)];
  if (about.labels[i]) found.push(make("h3", "Explanation"), make("p", about.labels[i], "fb-explanation"));
  const block = (name, content) => { const one = make("div"); one.append(make("h3", name), content); pair.append(one); };
  if (feature.up.length) {
    block("Raises", logits(feature.up, "Tokens whose logit it raises"));
    block("Lowers", logits(feature.down, "Tokens whose logit it lowers"));
  }
  if (feature.counts.length) {
    const labels = feature.counts.map((_, b) => number(b * feature.width) + " to " + number((b + 1) * feature.width));
    const says = `Histogram of the activations above 0: ${feature.counts.length} bins up to ${number(most)}`;
    block("Activations above 0 (root scale)", bars(feature.counts, labels, ["0", number(feature.counts.length * feature.width)], 90, says));
  }
  found.push(pair);
  if (!feature.top.length) found.push(make("p", "It never fires on these tokens."));
  else found.push(make("h3", "Top contexts"), contexts(feature.top, most));
  const count = feature.intervals.length;
  for (let j = count - 1; j >= 0; j--) {
    if (!feature.intervals[j].length) continue;
    found.push(make("h3", `Contexts from ${number(j / count * most)} to ${number((j + 1) / count * most)}`), contexts(feature.intervals[j], most));
  }
  return found;
}

function table(kind, headings, says) {
  const element = make("table", undefined, kind, { "aria-label": says }), head = make("tr"), top = make("thead"), body = make("tbody");
  for (const text of headings) head.append(make("th", text, "", { scope: "col" }));
  top.append(head);
  element.append(top, body);
  return [element, body];
}

function logits(flat, says) {
  const [element, body] = table("fb-logits", ["token", "logit"], says);
  for (const [id, weight] of pairs(flat)) {
    const row = make("tr");
    row.append(make("td", token(id)), make("td", number(weight)));
    body.append(row);
  }
  return element;
}

// Contexts with the same last tokens stand behind the first of them.
function contexts(lines, most) {
  const [element, body] = table("fb-lines", ["activation", "context", "more of it"], "Contexts and their activations"), groups = new Map();
  for (const line of lines) {
    const [, ids, , peak] = line, key = peak >= ALIKE - 1 ? ids.slice(peak - ALIKE + 1, peak + 1).join() : ids.join();
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(line);
  }
  for (const group of groups.values()) {
    const made = group.map((line) => context(line, most));
    body.append(made[0]);
    if (made.length === 1) continue;
    const row = make("tr"), cell = make("td", undefined, "", { colspan: 3 });
    const open = button(made.length - 1 + " more like this", () => {
      const now = open.getAttribute("aria-expanded") === "false";
      open.setAttribute("aria-expanded", String(now));
      for (const each of made.slice(1)) each.hidden = !now;
    }, { "aria-expanded": "false", class: "fb-alike" });
    for (const each of made.slice(1)) each.hidden = true;
    cell.append(open);
    row.append(cell);
    body.append(row, ...made.slice(1));
  }
  return element;
}

// [value, ids, [place, percent of the maximum, ...], place of the peak, row of the corpus, place of the peak in it]
function context(line, most) {
  const [value, ids, acts, peak, at, place] = line, row = make("tr"), cell = make("td", undefined, "fb-text");
  const shares = new Map(pairs(acts));
  const words = make("div", undefined, "", { tabindex: 0, role: "group", "data-rove": "span", "aria-label": "Context: arrow keys read the activations" });
  const fill = (shownIds, shift, beyond) => {
    words.replaceChildren();
    shownIds.forEach((id, j) => {
      const span = make("span", token(id)), inWindow = j + shift, share = shares.get(inWindow);
      if (share) shade(span, share, share / 100 * most);
      if (beyond && (inWindow < 0 || inWindow >= ids.length)) span.classList.add("fb-beyond");
      if (inWindow === peak) span.classList.add("fb-peak");
      words.append(span, document.createElement("wbr"));
    });
  };
  fill(ids, 0, false);
  const more = button("longer", () => {
    if (more.getAttribute("aria-expanded") === "true") {
      more.setAttribute("aria-expanded", "false");
      more.textContent = "longer";
      fill(ids, 0, false);
      return;
    }
    ask(numbered("rows", Math.floor(at / about.rows)), (found) => {
      more.setAttribute("aria-expanded", "true");
      more.textContent = "shorter";
      if (found === null) { words.textContent = "The longer context could not be read."; return; }
      const all = found[at], from = Math.max(0, place - about.longer), to = Math.min(all.length, place + about.longer + 1);
      fill(all.slice(from, to), from - (place - peak), true);
      const hidden = all.length - (to - from);
      if (hidden) words.append(make("em", ` (${hidden} more tokens of this text are not shown)`));
    });
  }, { "aria-expanded": "false" });
  words.addEventListener("click", () => { if (getSelection().isCollapsed) more.click(); });
  const last = make("td");
  cell.append(words);
  last.append(more);
  row.append(make("th", number(value), "", { scope: "row" }), cell, last);
  return row;
}
