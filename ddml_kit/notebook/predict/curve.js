// A curve that is drawn by dragging points, or with the arrow keys: each point is a slider.
const NS = "http://www.w3.org/2000/svg";
const W = 520, H = 260, LEFT = 60, RIGHT = 16, TOP = 14, BOTTOM = 46;

function element(parent, name, attributes, text) {
  const node = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  parent.appendChild(node);
  return node;
}

function render({ model, el }) {
  const xs = model.get("x"), low = model.get("low"), high = model.get("high");
  const log = model.get("log_x");
  const place = (v) => (log ? Math.log(v) : v);
  const [x0, x1] = [place(xs[0]), place(xs[xs.length - 1])];
  const px = (v) => LEFT + ((place(v) - x0) / (x1 - x0)) * (W - LEFT - RIGHT);
  const py = (v) => TOP + ((high - v) / (high - low)) * (H - TOP - BOTTOM);
  const clamp = (v) => Math.min(high, Math.max(low, v));
  const step = (high - low) / 50;

  const svg = element(el, "svg", {
    viewBox: `0 0 ${W} ${H}`, width: W, style: "max-width:100%;touch-action:none;font:12px sans-serif",
    role: "group", "aria-label": model.get("title"),
  });
  for (let i = 0; i <= 4; i++) {
    const v = low + ((high - low) * i) / 4;
    element(svg, "line", { x1: LEFT, x2: W - RIGHT, y1: py(v), y2: py(v), stroke: "#e8e8ef" });
    element(svg, "text", { x: LEFT - 8, y: py(v) + 4, "text-anchor": "end", fill: "#333" }, +v.toPrecision(3));
  }
  for (const v of xs)
    element(svg, "text", { x: px(v), y: H - BOTTOM + 18, "text-anchor": "middle", fill: "#333" }, +v.toPrecision(3));
  element(svg, "text", { x: (LEFT + W - RIGHT) / 2, y: H - 8, "text-anchor": "middle", fill: "#333" }, model.get("x_title"));
  element(svg, "text", {
    x: 14, y: (TOP + H - BOTTOM) / 2, "text-anchor": "middle", fill: "#333",
    transform: `rotate(-90 14 ${(TOP + H - BOTTOM) / 2})`,
  }, model.get("y_title"));
  const line = element(svg, "polyline", { fill: "none", stroke: "#000000", "stroke-width": 2, "stroke-dasharray": "3 3" });

  const handles = xs.map((v, i) => {
    const handle = element(svg, "circle", {
      cx: px(v), r: 8, fill: "#000000", stroke: "white", "stroke-width": 2, tabindex: 0, role: "slider",
      "aria-label": `${model.get("y_title")} at ${v}`, "aria-valuemin": low, "aria-valuemax": high, style: "cursor:ns-resize",
    });
    const set = (value) => {
      const y = model.get("y").slice();
      y[i] = clamp(value);
      model.set("y", y);
      model.save_changes();
    };
    handle.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      handle.setPointerCapture(event.pointerId);
      handle.focus();
    });
    handle.addEventListener("pointermove", (event) => {
      if (!handle.hasPointerCapture(event.pointerId)) return;
      const box = svg.getBoundingClientRect();
      const y = ((event.clientY - box.top) * H) / box.height;
      set(high - ((y - TOP) / (H - TOP - BOTTOM)) * (high - low));
    });
    handle.addEventListener("keydown", (event) => {
      const by = { ArrowUp: step, ArrowDown: -step, PageUp: 5 * step, PageDown: -5 * step }[event.key];
      if (by === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      set(model.get("y")[i] + by);
    });
    return handle;
  });

  function draw() {
    const y = model.get("y");
    line.setAttribute("points", xs.map((v, i) => `${px(v)},${py(y[i])}`).join(" "));
    handles.forEach((handle, i) => {
      handle.setAttribute("cy", py(y[i]));
      handle.setAttribute("aria-valuenow", +y[i].toPrecision(3));
    });
  }
  model.on("change:y", draw);
  draw();
  return () => model.off("change:y", draw);
}

export default { render };
