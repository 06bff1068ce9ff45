"use strict";
// Drawing: everything is made of elements and text nodes; no string of the data is ever read as markup.

const NS = "http://www.w3.org/2000/svg";

function svg(name, attributes, ...children) {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function html(name, properties, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "for" || key === "role") element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children);
  return element;
}

const count = (value) => value.toLocaleString("en-US");
const round2 = (value) => Number(value.toPrecision(2)).toLocaleString("en-US");
const tau = (name) => [name.startsWith("tau_") ? "τ" : "", html("sub", {}, name.replace("tau_", "").replaceAll("_", " "))];
const percent = (value) => (100 * value).toFixed(1) + "%";

function logScale(low, high, from, to) {
  const a = Math.log(low), b = Math.log(high > low ? high : low * 2);
  const scale = (value) => from + ((Math.log(Math.max(value, low / 1e3)) - a) / (b - a)) * (to - from);
  scale.low = low;
  scale.high = Math.exp(b);
  return scale;
}

// Powers of ten, or 1-2-5 steps where there are few of them.
function logTicks(scale) {
  const decades = Math.log10(scale.high / scale.low);
  const steps = decades > 3.2 ? [1] : decades > 1.1 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 6, 8];
  const ticks = [];
  for (let power = Math.floor(Math.log10(scale.low)); power <= Math.log10(scale.high); power += 1) {
    for (const step of steps) ticks.push(Number((step * 10 ** power).toPrecision(2)));
  }
  const inside = ticks.filter((tick) => tick >= scale.low * 0.999 && tick <= scale.high * 1.001);
  const every = Math.ceil(inside.length / 8);
  return inside.filter((_, k) => k % every === 0);
}

const tickText = (value) => value >= 1e6 || value < 1e-3 ? value.toExponential(0).replace("e+", "e") : count(value);
const path = (points) => points.map(([x, y], k) => (k ? "L" : "M") + x.toFixed(1) + " " + y.toFixed(1)).join("");

// A line with gaps where a value is missing.
function linePath(xs, ys) {
  let d = "", pen = false;
  xs.forEach((x, k) => {
    const here = Number.isFinite(ys[k]);
    if (here) d += (pen ? "L" : "M") + x.toFixed(1) + " " + ys[k].toFixed(1);
    pen = here;
  });
  return d;
}

function bandPath(xs, lows, highs) {
  const known = xs.map((_, k) => k).filter((k) => Number.isFinite(lows[k]) && Number.isFinite(highs[k]));
  if (known.length < 2) return "";
  return path(known.map((k) => [xs[k], highs[k]])) + path(known.reverse().map((k) => [xs[k], lows[k]])).replace("M", "L") + "Z";
}

const SHAPES = [
  (x, y, r) => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`,
  (x, y, r) => `M${x - r * 0.88} ${y - r * 0.88}h${r * 1.76}v${r * 1.76}h${-r * 1.76}Z`,
  (x, y, r) => `M${x} ${y - r * 1.3}l${r * 1.3} ${r * 1.3}l${-r * 1.3} ${r * 1.3}l${-r * 1.3} ${-r * 1.3}Z`,
  (x, y, r) => `M${x} ${y - r * 1.2}l${r * 1.15} ${r * 2.1}h${-r * 2.3}Z`,
  (x, y, r) => `M${x} ${y + r * 1.2}l${r * 1.15} ${-r * 2.1}h${-r * 2.3}Z`,
];
const shape = (k, x, y, r) => SHAPES[k % SHAPES.length](Number(x.toFixed(1)), Number(y.toFixed(1)), r);
const DASHES = ["none", "6 3", "8 3 2 3", "2 2.5"];

function xAxis(root, scale, y, label, grid) {
  for (const tick of logTicks(scale)) {
    const x = scale(tick).toFixed(1);
    if (grid) root.append(svg("path", { class: "grid", d: `M${x} ${grid[0]}V${grid[1]}` }));
    if (label !== null) root.append(svg("text", { x, y: y + 14, "text-anchor": "middle" }, tickText(tick)));
  }
  if (label) {
    const middle = (scale(scale.low) + scale(scale.high)) / 2;
    root.append(svg("text", { x: middle, y: y + 29, "text-anchor": "middle" }, label));
  }
}

// One run: rule accuracy and memorization with their 95% intervals, chance, both clocks and the window; the loss below.
function curveChart(run, readout) {
  const W = 420, left = 42, right = 408, top = 22, bottom = 222, lossTop = 240, lossBottom = 304;
  const root = svg("svg", { viewBox: `0 0 ${W} 340`, role: "img", tabindex: "0", "aria-label": run.title + ": " + run.words });
  const steps = run.steps.map((step) => Math.max(step, 0.5));
  const marks = [run.rule, run.mem].flatMap((clock) => clock && clock.upper > 0 ? [clock.upper] : []);
  const last = Math.max(...steps, ...marks, 1);
  const x = logScale(Math.min(...steps, ...marks, last / 2), last, left, right);
  const y = (ratio) => bottom - ratio * (bottom - top);
  for (const ratio of [0, 0.25, 0.5, 0.75, 1]) {
    root.append(svg("path", { class: "grid", d: `M${left} ${y(ratio)}H${right}` }));
    root.append(svg("text", { x: left - 5, y: y(ratio) + 4, "text-anchor": "end" }, 100 * ratio + "%"));
  }
  xAxis(root, x, lossBottom, "training step", [top, lossBottom]);
  const { rule, mem } = run;
  if (rule && mem && rule.upper > 0) {
    const end = mem.upper > 0 ? mem.upper : last;
    if (end > rule.upper) {
      const from = x(rule.upper);
      root.append(svg("rect", { class: "window", x: from, y: top, width: x(end) - from, height: bottom - top }));
    }
  }
  if (run.chance !== null) root.append(svg("path", { class: "chance", d: `M${left} ${y(run.chance)}H${right}` }));
  const xs = steps.map(x);
  for (const [name, key] of [["rule", "rule_accuracy"], ["memorization", "memorization"]]) {
    const of = (column) => Array.from(run.curves[column], y);
    root.append(svg("path", { class: name + " band", d: bandPath(xs, of(key + "_low"), of(key + "_high")) }));
    const ys = of(key);
    root.append(svg("path", { class: name + " line", d: linePath(xs, ys) }));
    const d = xs.map((at, k) => Number.isFinite(ys[k]) ? shape(name === "rule" ? 0 : 1, at, ys[k], 2.1) : "").join("");
    root.append(svg("path", { class: name + " mark", d }));
  }
  const labels = [];
  for (const [name, clock] of [["rule", rule], ["memorization", mem]]) {
    if (!clock || !(clock.upper > 0)) continue;
    const from = x(Math.max(clock.lower, x.low)), to = x(clock.upper);
    root.append(svg("rect", { class: name + " band", x: from, y: top, width: Math.max(to - from, 0.5), height: bottom - top }));
    root.append(svg("path", { class: name, d: `M${to.toFixed(1)} ${top - 4}V${bottom}`, "stroke-width": 1 }));
    labels.push([name, to]);
  }
  // Labels keep apart and inside: the later one first, the earlier one to its left.
  labels.sort((one, other) => other[1] - one[1]);
  let free = right - 11;
  for (const [name, at] of labels) {
    const place = Math.max(Math.min(at, free), left);
    free = place - 30;
    root.append(svg("text", { class: name + "-text", x: place, y: top - 8, "text-anchor": "middle" },
      "τ", svg("tspan", { dy: 3, "font-size": "8.5" }, name === "rule" ? "rule" : "mem")));
  }
  const losses = run.curves.loss.filter((value) => Number.isFinite(value) && value > 0);
  if (losses.length) {
    const most = losses.reduce((a, b) => Math.max(a, b)), scaleLoss = (value) => lossBottom - (value / most) * (lossBottom - lossTop);
    for (const value of [0, most]) {
      root.append(svg("path", { class: "grid", d: `M${left} ${scaleLoss(value)}H${right}` }));
      root.append(svg("text", { x: left - 5, y: scaleLoss(value) + 4, "text-anchor": "end" }, value ? value.toPrecision(2) : "0"));
    }
    root.append(svg("path", { class: "loss line", d: linePath(xs, Array.from(run.curves.loss, scaleLoss)) }));
    root.append(svg("text", { x: right, y: lossTop + 9, "text-anchor": "end" }, run.lossLabel));
  }
  const cursor = svg("path", { class: "cursor" });
  root.append(cursor);
  let at = -1;
  const show = (k) => {
    at = Math.min(Math.max(k, 0), steps.length - 1);
    if (at < 0) return;
    cursor.setAttribute("d", `M${xs[at].toFixed(1)} ${top}V${lossBottom}`);
    const ratio = (key) => {
      const [value, low, high] = ["", "_low", "_high"].map((end) => run.curves[key + end][at]);
      const ends = Number.isFinite(low) && Number.isFinite(high) ? ` [${percent(low)}, ${percent(high)}]` : "";
      return Number.isFinite(value) ? percent(value) + ends : "not measured";
    };
    const loss = run.curves.loss[at];
    readout.textContent = `Step ${count(run.steps[at])}: rule accuracy ${ratio("rule_accuracy")}, memorization ` +
      `${ratio("memorization")}` + (Number.isFinite(loss) ? `, loss ${loss.toPrecision(3)}` : "");
  };
  root.addEventListener("pointermove", (event) => {
    const box = root.getBoundingClientRect(), px = ((event.clientX - box.left) / box.width) * W;
    let best = 0;
    xs.forEach((value, k) => { if (Math.abs(value - px) < Math.abs(xs[best] - px)) best = k; });
    show(best);
  });
  root.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: steps.length - 1 };
    if (!(event.key in moves)) return;
    show(moves[event.key]);
    event.preventDefault();
  });
  return root;
}

// Both clocks of a run on the log axis of all runs.
function strip(rule, mem, low, high) {
  const x = logScale(low, high, 2, 146), root = svg("svg", { class: "strip", viewBox: "0 0 150 18", "aria-hidden": "true" });
  root.append(svg("path", { class: "grid", d: "M2 9H148" }));
  const end = mem && (mem.upper > 0 ? mem.upper : high);
  if (rule && mem && rule.upper > 0 && end > rule.upper) {
    root.append(svg("rect", { class: "window", x: x(rule.upper), y: 3, width: Math.max(x(end) - x(rule.upper), 0), height: 12 }));
  }
  for (const [name, clock] of [["rule", rule], ["memorization", mem]]) {
    if (!clock) continue;
    if (clock.upper > 0) {
      const from = x(Math.max(clock.lower, low)), to = x(clock.upper);
      root.append(svg("rect", { class: name + " mark", x: from, y: name === "rule" ? 2 : 9, width: Math.max(to - from, 2), height: 7 }));
    } else if (clock.lower > 0) {
      const at = x(clock.lower), y = name === "rule" ? 5.5 : 12.5;
      root.append(svg("path", { class: name, fill: "none", "stroke-width": 1.3, d: `M${at} ${y}h6m-2.5 -2.5l2.5 2.5l-2.5 2.5` }));
    }
  }
  return root;
}

const ramp = (k, n) => "c" + (n > 1 ? Math.round((k * 7) / (n - 1)) : 2);

// A scaling law: a panel per model, all on the same axes, in a given room (pixels). Returns the key and the panels.
function scalingPanels(figure, id, room, name, choose, pointed) {
  const points = figure.panels.flatMap((panel) => panel.series.flatMap((series) => series.points));
  const known = points.flatMap(([, low, high]) => [low, high]).filter((value) => value > 0);
  if (!known.length) return [];
  const extent = (values) => [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
  const [xLow, xHigh] = extent(points.map((point) => point[0])), [yLow, yHigh] = extent(known);
  const places = [...new Set(points.map((point) => point[0]))].sort((a, b) => a - b);
  const gap = places.slice(1).reduce((least, value, k) => Math.min(least, Math.log(value / places[k])), places.length > 1 ? Infinity : 1);
  const names = [...new Set(figure.panels.flatMap((panel) => panel.series.map((series) => series.name)))];
  names.sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const one = figure.panels.length === 1, large = one && room > 480, W = large ? 560 : 340, H = large ? 350 : 260;
  const grid = html("div", { className: one ? "panels one" : "panels" });
  for (const [nth, panel] of figure.panels.entries()) {
    const root = svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${panel.title}: ${figure.onset} against ${figure.x}` });
    const left = 52, right = W - 10, top = 24, bottom = H - 38;
    const x = logScale(xLow / Math.exp(gap * 0.45), xHigh * Math.exp(gap * 0.45), left, right), y = logScale(yLow / 1.3, yHigh * 1.4, bottom, top);
    const axis = svg("text", { x: 2, y: 14 }, ...(figure.onset.startsWith("tau_") ? ["τ", svg("tspan", { dy: 3, "font-size": "8.5" }, figure.onset.slice(4))] : [figure.onset]));
    axis.append(svg("tspan", { dy: -3 }, ", steps"));
    root.append(axis, svg("text", { class: "title", x: right, y: 14, "text-anchor": "end" }, panel.title));
    for (const tick of logTicks(y)) {
      root.append(svg("path", { class: "grid", d: `M${left} ${y(tick).toFixed(1)}H${right}` }));
      root.append(svg("text", { x: left - 5, y: y(tick) + 4, "text-anchor": "end" }, tickText(tick)));
    }
    if (places.length <= 8) {
      for (const place of places) {
        root.append(svg("path", { class: "grid", d: `M${x(place).toFixed(1)} ${top}V${bottom}` }));
        root.append(svg("text", { x: x(place), y: bottom + 14, "text-anchor": "middle" }, tickText(place)));
      }
      root.append(svg("text", { x: (left + right) / 2, y: bottom + 30, "text-anchor": "middle" }, figure.x));
    } else xAxis(root, x, bottom, figure.x, [top, bottom]);
    root.append(svg("path", { class: "axis", d: `M${left} ${top}V${bottom}H${right}` }));
    const placed = [], clip = `clip-${id}-${nth}`;
    root.append(svg("clipPath", { id: clip }, svg("rect", { x: left, y: top - 6, width: right - left, height: bottom - top + 6 })));
    for (const series of panel.series) {
      const k = names.indexOf(series.name), group = svg("g", { class: ramp(k, names.length), "clip-path": `url(#${clip})` });
      const [lx, ly, low, high] = series.line;
      if (low) group.append(svg("path", { class: "own band", d: bandPath(lx.map(x), low.map(y), high.map(y)) }));
      let bars = "", marks = "", late = "";
      const seen = new Map();
      for (const [at, from, to, run] of series.points) {
        const before = seen.get(at) || 0, of = series.points.filter((point) => point[0] === at).length;
        seen.set(at, before + 1);
        const within = (before + 1) / (of + 1) - 0.5, shift = 0.7 * gap * ((k + 0.5 + 0.8 * within) / names.length - 0.5);
        const px = x(at * Math.exp(shift));
        if (to < 0) {
          const py = y(from);
          late += shape(k, px, py, 2.4);
          bars += `M${px.toFixed(1)} ${(py - 3).toFixed(1)}v-9m-2.5 3l2.5 -3l2.5 3`;
          placed.push([px, py, run]);
        } else {
          const base = from > 0 ? from : to / 1.5, py = (y(base) + y(to)) / 2;
          bars += `M${px.toFixed(1)} ${y(base).toFixed(1)}V${y(to).toFixed(1)}`;
          marks += shape(k, px, py, 2.4);
          placed.push([px, py, run]);
        }
      }
      group.append(svg("path", { class: "own bars", d: bars }), svg("path", { class: "own late", d: late }), svg("path", { class: "own mark", d: marks }));
      if (lx) group.append(svg("path", { class: "own line", "stroke-dasharray": DASHES[k % DASHES.length], d: linePath(lx.map(x), ly.map(y)) }));
      root.append(group);
    }
    const ring = svg("circle", { class: "ring", r: 0 });
    root.append(ring);
    const nearest = (event) => {
      const box = root.getBoundingClientRect();
      const px = ((event.clientX - box.left) / box.width) * W, py = ((event.clientY - box.top) / box.height) * H;
      let best = null, least = 18 ** 2;
      for (const point of placed) {
        const distance = (point[0] - px) ** 2 + (point[1] - py) ** 2;
        if (distance < least) [best, least] = [point, distance];
      }
      return best;
    };
    root.addEventListener("pointermove", (event) => {
      const point = nearest(event);
      ring.setAttribute("r", point ? 5.5 : 0);
      if (point) { ring.setAttribute("cx", point[0]); ring.setAttribute("cy", point[1]); }
      pointed.textContent = point ? name(point[2]) : "";
    });
    root.addEventListener("click", (event) => { const point = nearest(event); if (point) choose(point[2], event); });
    grid.append(root);
  }
  const key = html("ul", { className: "key" });
  names.forEach((text, k) => {
    const swatch = svg("svg", { viewBox: "0 0 26 12", class: ramp(k, names.length), "aria-hidden": "true" },
      svg("path", { class: "own line", "stroke-dasharray": DASHES[k % DASHES.length], d: "M1 6H25" }), svg("path", { class: "own mark", d: shape(k, 13, 6, 3) }));
    key.append(html("li", {}, swatch, text));
  });
  return [key, grid, pointed];
}
