// The table of runs, its filters, and the panel that shows one run.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const N = data.runs.length, PAGE = 50, MOST_CHOICES = 12;
  const decode = (text, kind) => {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const view = new DataView(bytes.buffer), size = kind === "loss" ? 4 : 2;
    return Array.from({ length: bytes.length / size }, (_, k) => {
      if (kind === "loss") return view.getFloat32(4 * k, true);
      const value = view.getUint16(2 * k, true);
      return value === 65535 ? NaN : value / 65534;
    });
  };
  const columns = {};
  for (const [name, text] of Object.entries(data.curves.columns)) columns[name] = decode(text, name);
  const offsets = [0];
  for (const grid of data.curves.grid) offsets.push(offsets.at(-1) + data.curves.grids[grid].length);

  const wideEnough = matchMedia("(min-width: 62.01rem)"); // beside the table there is room for the run
  const coded = (column, i) => column.values[column.codes[i]];
  const text = (name, i) => coded(data.texts[name], i);
  const number = (name, i) => data.numbers[name][i];
  const onset = (name, i) => {
    const lower = number(name + "_lower", i), upper = number(name + "_upper", i);
    return lower === null || upper === null ? null : { lower, upper };
  };
  const interval = (clock) => {
    if (!clock) return "–";
    if (clock.upper < 0) return clock.lower > 0 ? "> " + count(clock.lower) : "unknown";
    return clock.lower > 0 ? count(clock.lower) + "–" + count(clock.upper) : "≤ " + count(clock.upper);
  };
  const late = (clock) => clock ? (clock.upper < 0 ? 1e18 + clock.lower : clock.upper) : null;
  // How much later memorization comes than the rule, as the ratios that both intervals allow.
  const windowOf = (i) => {
    const rule = onset("tau_rule", i), mem = onset("tau_mem", i);
    if (!rule || !mem) return { text: "–", key: null };
    if (rule.upper < 0) {
      const shut = mem.upper > 0 && mem.upper <= rule.lower;
      return shut ? { text: "none", key: 0 } : { text: "unknown", key: null };
    }
    const low = mem.lower / rule.upper, high = mem.upper < 0 || !(rule.lower > 0) ? Infinity : mem.upper / rule.lower;
    if (high <= 1) return { text: "none", key: 0 };
    if (high === Infinity) return { text: "> ×" + round2(low), key: low };
    return { text: `×${round2(low)}–${round2(high)}`, key: Math.sqrt(low * high) };
  };
  const duration = (s) => s === null ? "–" : s < 90 ? s.toFixed(0) + " s" : s < 5400 ? (s / 60).toFixed(1) + " min" : (s / 3600).toFixed(1) + " h";
  const small = (value) => value === null ? "–" : value === 0 ? "0" : value < 1e-3 ? value.toExponential(1) : percent(value);

  const varied = Object.keys(data.varied);
  const setting = (name, i) => coded(data.varied[name], i);
  const words = Array.from({ length: N }, (_, i) => [
    text("model", i), text("rule", i), "N=" + number("n_train", i), "seed=" + text("seed", i), text("status", i),
    ...varied.map((name) => name + "=" + setting(name, i)), data.runs[i],
  ].join(" ").toLowerCase());
  const nameOf = (i) => `${text("model", i)}, ${text("rule", i)}, N = ${count(number("n_train", i))}, seed ${text("seed", i)}`;

  const ends = ["tau_rule", "tau_mem"].flatMap((name) => ["_lower", "_upper"].flatMap((end) => data.numbers[name + end])).filter((v) => v > 0);
  const domain = ends.length ? [ends.reduce((a, b) => Math.min(a, b)), ends.reduce((a, b) => Math.max(a, b))] : [1, 10];

  // The order in which a reader looks for runs, not that of folder names.
  const natural = Array.from({ length: N }, (_, i) => i);
  const place = (i) => [data.texts.model.codes[i], data.texts.rule.codes[i], number("n_train", i), data.texts.seed.codes[i], i];
  const places = natural.map(place);
  natural.sort((a, b) => places[a].map((value, k) => value - places[b][k]).find((difference) => difference !== 0) || 0);

  const plain = (label, unit, cell, key, isNumber) => ({ label, unit, cell, key, isNumber });
  const code = (name) => (i) => data.texts[name].codes[i];
  const opener = (i, label) => html("button", { className: "open", type: "button", "aria-label": "Show " + nameOf(i) }, label);
  const several = (name) => data.texts[name].values.length > 1;
  // Settings that tell runs of one rule, model, N and seed apart come before the clocks.
  const ordered = [...data.settings, ...varied.filter((name) => !data.settings.includes(name))];
  const field = (name) => plain([name], "", (i) => setting(name, i), (i) => data.varied[name].codes[i], true);
  const table = [
    ...(several("model") ? [plain(["Model"], "", (i) => text("model", i), code("model"))] : []),
    plain(["Rule"], "", (i) => opener(i, text("rule", i)), code("rule")),
    plain(["N"], "samples", (i) => count(number("n_train", i)), (i) => number("n_train", i), true),
    plain(["Seed"], "", (i) => text("seed", i), (i) => data.texts.seed.codes[i], true),
    ...ordered.slice(0, 4).filter((name) => data.settings.includes(name)).map(field),
    plain(tau("tau_rule"), "steps", (i) => interval(onset("tau_rule", i)), (i) => late(onset("tau_rule", i)), true),
    plain(tau("tau_mem"), "steps", (i) => interval(onset("tau_mem", i)), (i) => late(onset("tau_mem", i)), true),
    plain(["Window"], "ratio", (i) => windowOf(i).text, (i) => windowOf(i).key, true),
    plain(["Clocks"], `${tickText(domain[0])} to ${tickText(domain[1])} steps, log`, (i) => strip(onset("tau_rule", i), onset("tau_mem", i), ...domain), (i) => late(onset("tau_rule", i))),
    plain(["Chance"], "", (i) => small(number("chance", i)), (i) => number("chance", i), true),
    plain(["Time"], "", (i) => duration(number("seconds", i)), (i) => number("seconds", i), true),
    ...(several("status") ? [plain(["Status"], "", (i) => text("status", i), code("status"))] : []),
    ...ordered.slice(0, 4).filter((name) => !data.settings.includes(name)).map(field),
  ];

  const form = document.getElementById("filters"), search = document.getElementById("words"), choices = document.getElementById("choices");
  const detail = document.getElementById("detail"), body = document.querySelector("#clocks tbody"), pages = document.getElementById("pages");
  const filters = [];
  const addFilter = (label, values, matches) => {
    if (values.length < 2) return;
    const select = html("select", { name: label }, html("option", { value: "" }, "all"));
    values.forEach((value, k) => select.append(html("option", { value: String(k) }, value)));
    choices.append(html("label", {}, label, select));
    filters.push((i) => select.value === "" || matches(Number(select.value), i));
  };
  for (const name of ["model", "rule"]) addFilter(name === "model" ? "Model" : "Rule", data.texts[name].values, (k, i) => data.texts[name].codes[i] === k);
  const sizes = [...new Set(data.numbers.n_train)].sort((a, b) => a - b);
  addFilter("N", sizes.map(count), (k, i) => number("n_train", i) === sizes[k]);
  for (const name of ordered) {
    if (data.varied[name].values.length <= MOST_CHOICES && filters.length < 6) addFilter(name, data.varied[name].values, (k, i) => data.varied[name].codes[i] === k);
  }
  addFilter("Status", data.texts.status.values, (k, i) => data.texts.status.codes[i] === k);

  const header = html("tr", {});
  const state = { sort: -1, up: true, page: 0, rows: [], kept: -1, shown: -1 };
  table.forEach((column, k) => {
    const button = html("button", { type: "button" }, html("span", { className: "label" }, ...column.label));
    if (column.unit) button.append(html("span", { className: "unit" }, column.unit));
    const cell = html("th", { scope: "col", className: column.isNumber ? "number" : "" }, button);
    button.addEventListener("click", () => {
      state.up = state.sort === k ? !state.up : true;
      state.sort = k;
      for (const other of header.children) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", state.up ? "ascending" : "descending");
      update();
    });
    header.append(cell);
  });
  document.querySelector("#clocks thead").append(header);

  function update(page = 0) {
    const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    // A word such as seed=1 must not match seed=10.
    const match = (all, word) => /=\S*\d$/.test(word) ? (" " + all + " ").includes(word + " ") || all.includes(word + ",") : all.includes(word);
    state.rows = natural.filter((i) => wanted.every((word) => match(words[i], word)) && filters.every((keep) => keep(i)));
    if (state.sort >= 0) {
      const key = table[state.sort].key, sign = state.up ? 1 : -1;
      const keys = new Map(state.rows.map((i) => [i, key(i)]));
      state.rows.sort((a, b) => {
        const p = keys.get(a), q = keys.get(b);
        if (p === null || q === null) return (p === null) - (q === null) ; // what is missing comes last, either way
        return sign * (p - q);
      });
    }
    state.page = page;
    document.getElementById("count").textContent = (state.rows.length === N ? "" : `${count(state.rows.length)} of `) + (N === 1 ? "1 run" : `${count(N)} runs`);
    draw();
  }

  function draw() {
    const first = state.page * PAGE, shown = state.rows.slice(first, first + PAGE);
    body.replaceChildren(...shown.map((i) => {
      const row = html("tr", {}, ...table.map((column) => html("td", { className: column.isNumber ? "number" : "" }, column.cell(i))));
      row.addEventListener("click", () => show(i, true));
      row.addEventListener("pointerenter", (event) => {
        const scrolled = Math.hypot(event.clientX - rest[0], event.clientY - rest[1]) < 2; // the row came to the pointer
        if (event.pointerType === "mouse" && wideEnough.matches && !scrolled) show(i, false);
      });
      row.dataset.run = String(i);
      return row;
    }));
    if (!shown.length) body.append(html("tr", {}, html("td", { colSpan: table.length }, "No run matches.")));
    const last = Math.max(Math.ceil(state.rows.length / PAGE) - 1, 0);
    const turn = (label, page) => {
      const button = html("button", { type: "button", disabled: page < 0 || page > last }, label);
      button.addEventListener("click", () => { state.page = page; draw(); });
      return button;
    };
    const range = `Rows ${count(Math.min(first + 1, state.rows.length))} to ${count(first + shown.length)} of ${count(state.rows.length)}`;
    pages.replaceChildren(...(last > 0 ? [turn("Previous", state.page - 1), range, turn("Next", state.page + 1)] : []));
    mark();
  }

  function mark() {
    for (const row of body.children) {
      row.classList.toggle("kept", Number(row.dataset.run) === state.kept);
      row.classList.toggle("shown", Number(row.dataset.run) === state.shown);
    }
  }

  function list(pairs) {
    return html("dl", {}, ...pairs.flatMap(([name, value]) => [html("dt", {}, ...[name].flat()), html("dd", {}, value)]));
  }

  function show(i, keep) {
    if (keep) { state.kept = i; detail.classList.add("opened"); }
    if (i !== state.shown || keep) {
      state.shown = i;
      detail.replaceChildren(...panel(i));
    }
    mark();
    if (keep && !wideEnough.matches) detail.querySelector(".close").focus(); // a sheet over the page: the keys go on in it
  }

  function panel(i) {
    const from = offsets[i], to = offsets[i + 1], rule = onset("tau_rule", i), mem = onset("tau_mem", i);
    const curves = Object.fromEntries(Object.entries(columns).map(([name, values]) => [name, values.slice(from, to)]));
    const readout = html("p", { className: "readout", "aria-live": "polite" });
    const close = html("button", { className: "close", type: "button" }, "Close");
    close.addEventListener("click", () => {
      detail.classList.remove("opened");
      const row = body.querySelector(`tr[data-run="${i}"] button`);
      if (row) row.focus();
    });
    const said = `tau_rule ${interval(rule)} steps, tau_mem ${interval(mem)} steps`;
    const parts = [close, html("h3", {}, nameOf(i))];
    if (to > from) {
      const lossLabel = text("model", i).startsWith("gpt") ? "loss, nats per token" : "loss";
      parts.push(
        key(), curveChart({ title: nameOf(i), words: said, steps: data.curves.grids[data.curves.grid[i]], curves, rule, mem, chance: number("chance", i), lossLabel }, readout), readout);
      readout.textContent = "Move over the curve, or focus it and press the arrow keys, to read its values.";
    } else parts.push(html("p", { className: "note" }, "No evaluation yet."));
    parts.push(list([
      [tau("tau_rule"), interval(rule) + " steps"], [tau("tau_mem"), interval(mem) + " steps"], ["window", windowOf(i).text],
      ["chance memorization", small(number("chance", i))], ["valid grids", text("support_size", i).replace(/\B(?=(\d{3})+$)/g, ",") || "–"],
      ["status", text("status", i) + (number("steps_done", i) === null ? "" : ` after ${count(number("steps_done", i))} steps`)],
      ["evaluations", count(number("evaluations", i))], ["training time", duration(number("seconds", i))], ["run", data.runs[i]],
      ...varied.map((name) => [name, setting(name, i)]),
    ]));
    const others = data.onsets.filter(([name]) => !data.clocks.includes(name) && onset(name, i));
    if (others.length) {
      const rows = others.map(([name, says]) => [name.startsWith("tau_") ? tau(name) : name.replaceAll("_", " "), `${interval(onset(name, i))} steps: ${says}`]);
      parts.push(html("details", {}, html("summary", {}, "Other onsets"), list(rows)));
    }
    const all = [["rule", text("rule", i)], ["model", text("model", i)], ["n_train", String(number("n_train", i))], ["seed", text("seed", i)],
      ...varied.map((name) => [name, setting(name, i)]), ...Object.entries(data.shared)];
    parts.push(html("details", {}, html("summary", {}, "All settings"), list(all)));
    const environment = Object.entries(JSON.parse(coded(data.environments, i)));
    if (environment.length) parts.push(html("details", {}, html("summary", {}, "Environment"), list(environment)));
    return parts;
  }

  function key() {
    const sample = (...children) => svg("svg", { viewBox: "0 0 26 12", "aria-hidden": "true" }, ...children);
    const of = (label, ...children) => html("li", {}, sample(...children), label);
    return html("ul", { className: "key" },
      of("rule accuracy", svg("path", { class: "rule line", d: "M1 6H25" }), svg("path", { class: "rule mark", d: shape(0, 13, 6, 2.6) })),
      of("memorization", svg("path", { class: "memorization line", d: "M1 6H25" }), svg("path", { class: "memorization mark", d: shape(1, 13, 6, 2.6) })),
      of("chance", svg("path", { class: "chance", d: "M1 6H25" })), of("window", svg("rect", { class: "window", x: 1, y: 1, width: 24, height: 10 })));
  }

  for (const place of document.querySelectorAll("[data-clocks]")) {
    const [ruleLower, ruleUpper, memLower, memUpper, first, last] = place.dataset.clocks.split(",").map(Number);
    place.append(strip({ lower: ruleLower, upper: ruleUpper }, { lower: memLower, upper: memUpper }, first, last));
  }

  let rest = [-9, -9];
  document.querySelectorAll("figure[data-figure]").forEach((place) => {
    const pointed = html("p", { className: "pointed", "aria-live": "polite" });
    const said = (i) => `${nameOf(i)}: τ rule ${interval(onset("tau_rule", i))}, τ mem ${interval(onset("tau_mem", i))} steps`;
    const choose = (i, event) => {
      rest = [event.clientX, event.clientY];
      show(i, true);
      if (wideEnough.matches) document.getElementById("runs").scrollIntoView();
    };
    const id = Number(place.dataset.figure), drawn = scalingPanels(data.figures[id], id, place.clientWidth, said, choose, pointed);
    place.querySelector("figcaption").after(...drawn);
  });

  body.addEventListener("pointerleave", () => { if (state.kept >= 0 && wideEnough.matches) show(state.kept, false); });
  form.addEventListener("input", () => update());
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(() => update()));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && detail.classList.contains("opened") && !wideEnough.matches) detail.querySelector(".close").click();
  });
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("main > section details:not([open])")].filter((one) => !detail.contains(one));
    for (const one of opened) one.open = true;
  });
  addEventListener("afterprint", () => { for (const one of opened) one.open = false; });
  update();
  if (N) { state.kept = natural[0]; show(natural[0], false); }
})();
