// Data come as scripts that call featureBrowser.data(name, value), so that the pages open without a server.
// Whatever is shown goes in as text, never as markup.
const SVG = "http://www.w3.org/2000/svg", SPACE = "\u00b7", byId = (id) => document.getElementById(id);
const FOLDER = document.currentScript.dataset.folder;
const loaded = new Map(), waiting = new Map();
let about = null, vocabulary = {};

// Calls then(value) when the file of that name is there, then(null) when it cannot be read.
function ask(name, then) {
  if (loaded.has(name)) { then(loaded.get(name)); return; }
  if (waiting.has(name)) { waiting.get(name).push(then); return; }
  waiting.set(name, [then]);
  if (!FOLDER) { give(name, null); return; }
  const script = document.createElement("script");
  script.src = FOLDER + "/" + name + ".js";
  script.onerror = () => give(name, null);
  document.body.append(script);
}

function give(name, value) {
  if (value !== null) loaded.set(name, value);
  const calls = waiting.get(name) || [];
  waiting.delete(name);
  for (const then of calls) then(value);
  if (name === "tokens") vocabulary = value;
  if (name === "summary") start(value);
}

const numbered = (kind, i) => kind + "-" + String(i).padStart(5, "0");

function make(tag, text, kind, attributes = {}) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (kind) element.className = kind;
  for (const name in attributes) element.setAttribute(name, attributes[name]);
  return element;
}

function draw(tag, attributes, text) {
  const element = document.createElementNS(SVG, tag);
  for (const name in attributes) element.setAttribute(name, attributes[name]);
  if (text !== undefined) element.textContent = text;
  return element;
}

function button(text, press, attributes = {}) {
  const element = make("button", text, "", { type: "button", ...attributes });
  element.addEventListener("click", press);
  return element;
}

function number(x) {
  if (x === null || x === undefined) return "\u2013";
  if (x === 0) return "0";
  const size = Math.abs(x);
  return size >= 1e4 || size < 1e-3 ? x.toExponential(1) : String(Number(x.toPrecision(3)));
}

const percent = (x) => x === 0 ? "dead" : number(100 * x) + "%";
const token = (id) => vocabulary[id] === undefined ? "\u27e8" + id + "\u27e9" : vocabulary[id];
const pairs = (flat) => Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i], flat[2 * i + 1]]);

// The colour of a token, whose share of the feature's largest activation is given in percent.
function shade(element, share, value) {
  element.classList.remove("ji-high", "ji-strong", "ji-strong-dark");
  element.classList.toggle("ji-fill", share > 0);
  element.removeAttribute("title");
  if (!(share > 0)) return;
  element.classList.add("ji-high");
  element.classList.toggle("ji-strong", share > {{ flips.high[0] }});
  element.classList.toggle("ji-strong-dark", share > {{ flips.high[1] }});
  element.style.setProperty("--v", share + "%");
  element.title = number(value);
}

// A histogram of counts. The height is the square root of a count: a rare tail stays visible.
function bars(counts, labels, ends, height, says) {
  const width = 340, low = 16, top = Math.max(1, ...counts), step = width / counts.length;
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height + low}`, width, height: height + low, role: "img", "aria-label": says });
  counts.forEach((count, i) => {
    const h = count ? Math.max(1.5, height * Math.sqrt(count / top)) : 0;
    const bar = draw("rect", { x: i * step, y: height - h, width: Math.max(1, step - 1), height: h });
    bar.append(draw("title", {}, labels[i] + ": " + count));
    svg.append(bar);
  });
  svg.append(draw("line", { x1: 0, x2: width, y1: height + .5, y2: height + .5 }));
  ends.forEach((text, i) => {
    const anchor = i === 0 ? "start" : i === ends.length - 1 ? "end" : "middle";
    svg.append(draw("text", { x: i * width / (ends.length - 1), y: height + 12, "text-anchor": anchor }, text));
  });
  return svg;
}
