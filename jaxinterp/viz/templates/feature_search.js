// Which features a query finds, and in which order: exact tokens first. A blank at the beginning belongs to the query.
let searched = null;

// Strings of all tokens in small letters, with and without the blanks before them, made once.
function searchable() {
  if (searched === null) {
    const ids = Object.keys(vocabulary).map(Number), most = ids.reduce((a, b) => Math.max(a, b), 0);
    const small = ids.map((id) => vocabulary[id].toLowerCase());
    searched = { ids, most, small, bare: small.map((text) => text.replace(/^\u00b7+/, "")), labels: about.labels.map((text) => text.toLowerCase()) };
  }
  return searched;
}

// By id: 1 the token itself, 2 but for capitals, 3 but for the blank before it, 4 its beginning, 5 a part; 0 none.
function closeness(word) {
  const { ids, most, small, bare } = searchable(), found = new Uint8Array(most + 1), low = word.toLowerCase();
  ids.forEach((id, i) => {
    const start = low.startsWith(SPACE) ? small[i] : bare[i];
    found[id] = vocabulary[id] === word ? 1 : small[i] === low ? 2 : start === low ? 3 : start.startsWith(low) ? 4 : small[i].includes(low) ? 5 : 0;
  });
  return found;
}

// A label counts between: as a whole like a token, a part of it like a part of a token.
function rankOf(i, close, bare) {
  let best = 99;
  for (const id of about.fires[i]) if (close[id] && 2 * close[id] < best) best = 2 * close[id];
  for (const id of about.raises[i]) if (close[id] && 2 * close[id] + 1 < best) best = 2 * close[id] + 1;
  const label = searched.labels[i];
  if (label && bare && label.includes(bare)) best = Math.min(best, label === bare ? 2 : 8);
  return best;
}

// The rank of every feature, 99 where the query does not find it; null for an empty query.
function ranks(typed) {
  if (typed === "") return null;
  const kept = typed.trimEnd() || typed, start = kept.length - kept.trimStart().length;
  const whole = SPACE.repeat(start || (kept.trim() ? 0 : kept.length)) + kept.trim();
  const words = whole.split(/\s+/), read = (word) => [closeness(word), word.replace(/^\u00b7+/, "").toLowerCase()];
  const first = read(whole), rest = words.length > 1 ? words.map(read) : [];
  const digits = /^#?\d+$/.test(whole) ? Number(whole.replace("#", "")) : null;
  return about.features.map((feature, i) => {
    if (feature === digits) return 0;
    const own = rankOf(i, ...first);
    if (own < 99 || !rest.length) return own;
    const each = Math.max(...rest.map((word) => rankOf(i, ...word)));
    return each < 99 ? 20 + each : 99;
  });
}
