// Hover texts are native titles. Where scripts run they show at once in one box that nothing clips, for the pointer
// and for the keyboard: in a container with data-rove, a selector of its items, arrow keys move from item to item.
(() => {
  if (window.jaxinterpTips) return;
  window.jaxinterpTips = true;
  const tip = document.createElement("div");
  tip.className = "ji-tip";
  tip.hidden = true;
  tip.setAttribute("aria-hidden", "true");
  const live = document.createElement("div");
  live.className = "ji ji-unseen";
  live.setAttribute("aria-live", "polite");
  let over = null;
  const HAS_TIP = ".ji-svg rect[data-tip], .ji-svg circle[data-tip], .ji-svg rect:has(> title), .ji-svg circle:has(> title), .ji-hit, .ji-fill[title], .ji-fill[data-tip]";
  const textOf = (element) => {
    if (element.dataset.tip === undefined) {
      const child = element.querySelector(":scope > title");
      element.dataset.tip = child ? child.textContent : element.getAttribute("title") || "";
      if (child) child.remove(); else element.removeAttribute("title");
      if (!child) element.setAttribute("aria-label", element.textContent + ": " + element.dataset.tip);
    }
    return element.dataset.tip;
  };
  const hide = () => { tip.hidden = true; over = null; };
  const place = (x, y) => {
    const box = tip.getBoundingClientRect();
    const left = Math.min(x + 14, innerWidth - box.width - 8);
    const top = y + 18 + box.height > innerHeight ? y - box.height - 12 : y + 18;
    tip.style.left = Math.max(8, left) + "px";
    tip.style.top = Math.max(8, top) + "px";
  };
  const show = (target) => {
    if (!tip.isConnected) document.body.append(tip, live);
    tip.textContent = textOf(target);
    tip.hidden = tip.textContent === "";
  };
  const follow = (event) => {
    const target = event.target.closest && event.target.closest(HAS_TIP);
    if (!target) { hide(); return; }
    if (target !== over) { over = target; show(target); }
    place(event.clientX, event.clientY);
  };
  document.addEventListener("pointermove", follow);
  document.addEventListener("pointerdown", follow); // a tap moves no pointer
  let roved = 0;
  document.addEventListener("scroll", () => { if (Date.now() - roved > 300) hide(); }, { capture: true, passive: true });

  const next = (items, at, key) => {
    const index = items.indexOf(at);
    if (index < 0 || key === "Home") return items[0];
    if (key === "End") return items[items.length - 1];
    if (key === "ArrowRight") return items[Math.min(index + 1, items.length - 1)];
    if (key === "ArrowLeft") return items[Math.max(index - 1, 0)];
    const middle = (e) => { const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2, b.height]; };
    const [x, y, high] = middle(at), down = key === "ArrowDown" ? 1 : -1, drawn = at.closest("svg") !== null;
    let best = at, least = Infinity;
    for (const item of items) {
      const [u, v] = middle(item), rise = down * (v - y), aside = Math.abs(u - x);
      if (rise < Math.min(high / 2, 6)) continue;
      const far = drawn ? Math.round(aside) * 4000 + rise : Math.round(rise / 6) * 4000 + aside;
      if (far < least) { least = far; best = item; }
    }
    return best;
  };
  const KEYS = ["ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown", "Home", "End"];
  const current = new WeakMap();
  document.addEventListener("keydown", (event) => {
    const root = event.target.closest && event.target.closest("[data-rove]");
    if (!root) return;
    if (event.key === "Escape") { hide(); return; }
    if (!KEYS.includes(event.key) || event.altKey || event.ctrlKey || event.metaKey) return;
    const items = [...root.querySelectorAll(root.dataset.rove)].filter((e) => e.getClientRects().length);
    if (!items.length) return;
    event.preventDefault();
    const item = next(items, items.includes(event.target) ? event.target : current.get(root), event.key);
    current.get(root)?.classList.remove("ji-at");
    current.set(root, item);
    roved = Date.now();
    item.scrollIntoView({ block: "nearest", inline: "nearest" });
    if (item.tabIndex >= 0 || item.hasAttribute("tabindex")) { item.focus({ preventScroll: true }); return; }
    item.classList.add("ji-at");
    show(item);
    const box = item.getBoundingClientRect();
    place(box.right - 12, box.bottom - 14);
    live.textContent = (item.closest("svg") ? "" : item.textContent + ": ") + tip.textContent;
  });
  document.addEventListener("focusin", (event) => {
    // JupyterLab takes the arrow keys first, but for an element that says so itself.
    if (event.target.closest && event.target.closest(".ji")) event.target.setAttribute("data-lm-suppress-shortcuts", "true");
    const root = event.target.closest && event.target.closest("[data-rove]");
    if (!root || root === event.target || !event.target.matches(root.dataset.rove)) return;
    current.set(root, event.target);
    // Of items that take the focus themselves one is reached by Tab, the others by arrow keys.
    if ("tabs" in root.dataset) for (const item of root.querySelectorAll(root.dataset.rove)) item.tabIndex = item === event.target ? 0 : -1;
  });
  document.addEventListener("focusout", (event) => {
    const root = event.target.closest && event.target.closest("[data-rove]");
    if (root && !root.contains(event.relatedTarget)) { current.get(root)?.classList.remove("ji-at"); hide(); }
  });
})();
