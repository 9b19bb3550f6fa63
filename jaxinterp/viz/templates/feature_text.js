// A text of the reader's: which features fire on it, and where. It was given to the pages, or a local server reads it.
let own = null, ownToken = -1;
const LIVE = "live" in document.body.dataset;

const firesOnText = (i) => own === null || (own.at.has(i) && (ownToken < 0 || own.at.get(i).has(ownToken)));

// A text as it is stored: tokens, places of features, and for each of these [position, value, ...].
function showText(text) {
  ownToken = -1;
  own = text === null ? null : { tokens: text.tokens, at: new Map(text.features.map((place, i) => [place, new Map(pairs(text.values[i]))])) };
  const strip = byId("own-strip"), sort = byId("sort");
  if (about.columns.at(-1).text) { about.columns.pop(); sort.lastChild.remove(); sort.value = 0; }
  byId("own-clear").hidden = own === null;
  strip.hidden = own === null;
  strip.replaceChildren();
  if (own !== null) {
    own.tokens.forEach((word, i) => strip.append(button(word, () => pick(i), { class: "ji-tok", "aria-pressed": "false", tabindex: i ? -1 : 0 }), document.createElement("wbr")));
    about.columns.push({ name: "on this text", values: [], text: true });
    const option = make("option", "on this text");
    option.value = about.columns.length - 1;
    sort.append(option);
    sort.value = option.value;
    byId("down").checked = true;
  }
  rankText();
}

// The column "on this text": the largest activation on it, or that at the chosen token.
function rankText() {
  if (own !== null) {
    const value = (at) => ownToken < 0 ? Math.max(...[...at.values()].map(Math.abs)) : at.has(ownToken) ? Math.abs(at.get(ownToken)) : null;
    about.columns.at(-1).values = about.features.map((_, i) => own.at.has(i) ? value(own.at.get(i)) : null);
  }
  filter();
  if (own !== null) goTo(0);
  shadeText();
}

function pick(i) {
  ownToken = ownToken === i ? -1 : i;
  byId("own-strip").querySelectorAll(".ji-tok").forEach((each, j) => each.setAttribute("aria-pressed", String(j === ownToken)));
  rankText();
}

// Tokens of the text, coloured by the chosen feature.
function shadeText() {
  if (own === null) return;
  const at = own.at.get(chosen), most = Math.max(about.maximum[chosen] || 0, ...(at ? [...at.values()].map(Math.abs) : []));
  byId("own-strip").querySelectorAll(".ji-tok").forEach((each, j) => {
    const value = at && at.has(j) ? at.get(j) : 0;
    each.removeAttribute("data-tip");
    shade(each, Math.ceil(100 * Math.abs(value) / (most || 1)), value);
    each.setAttribute("aria-label", each.textContent + ": " + number(value));
  });
  const where = ownToken < 0 ? "on this text" : "at the chosen token";
  byId("own-said").textContent = shown.length + " features fire " + where + ". " + (at ? "" : "Feature " + about.features[chosen] + " does not fire on this text. ") + "Choose a token for the features at it.";
}

async function readText() {
  const said = byId("own-said"), text = byId("own-text").value;
  if (text === "") { said.textContent = "Write a text first."; return; }
  said.textContent = "Reading \u2026";
  byId("own-go").disabled = true;
  try {
    const answer = await fetch("", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ text }) });
    const found = (answer.headers.get("Content-Type") || "").startsWith("application/json") ? await answer.json() : { error: answer.status === 413 ? "The text is too long." : "The server answers with " + answer.status + "." };
    if (found.error) said.textContent = found.error; else showText(found);
  } catch {
    said.textContent = "The server does not answer. Was it closed?";
  }
  byId("own-go").disabled = false;
}

function startText() {
  const texts = about.texts, given = byId("own-given");
  byId("own").hidden = !texts.length && !LIVE;
  given.hidden = !texts.length;
  texts.forEach((text, i) => { const option = make("option", text.name); option.value = i; given.append(option); });
  for (const id of ["own-text", "own-go"]) byId(id).hidden = !LIVE;
  given.addEventListener("change", () => showText(given.value === "" ? null : texts[given.value]));
  byId("own-clear").addEventListener("click", () => { given.value = ""; showText(null); });
  byId("own-form").addEventListener("submit", (event) => { event.preventDefault(); given.value = ""; readText(); });
}
