// Compare runs: all numbers come with the state, computed in Python; here they are chosen and drawn.

const TWO = [["var(--dlt-blue)", "", "●"], [VERMILLION, "7 3", "■"]];
const MEASURES = { bits_per_byte: "validation bits per byte", perplexity: "validation perplexity" };
const COMPARE_STYLE = `
.dlt-compare .choices { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 4px 14px; }
.dlt-compare label { font-size: 12.5px; }
.dlt-widget.dlt-compare select { width: 100%; height: 26px; }
.dlt-compare .verdict { margin: 8px 0; padding: 6px 10px; border-left: 4px solid var(--dlt-mark); min-height: 2.8em; }`;
const clip = (words, most) => (words.length > most ? `${words.slice(0, most - 1)}…` : words);

function drawCurves(groups, measure, { corpus, unit }) {
  const [width, height, left, top, bottom] = [415, 300, 50, 62, 258];
  const curves = groups.map((group) => group.curves[measure]).map(({ step, mean, half }) =>
    step.map((s, i) => [s, mean[i], half[i] || 0]));
  const all = curves.flat();
  if (!all.length) return element("svg", { viewBox: `0 0 ${width} 40` }, label(4, 20, "These runs have no validation curves."));
  const [low, high] = [Math.min(...all.map(([, m, h]) => m - h)), Math.max(...all.map(([, m, h]) => m + h))];
  const last = Math.max(...all.map(([s]) => s));
  const x = (s) => left + (s / last) * (width - left - 12);
  const y = (v) => bottom - ((v - low) / (high - low || 1)) * (bottom - top);
  const digits = high < 20 ? 2 : 0;
  return element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label":
    `${MEASURES[measure]} over the steps: ` + groups.map(({ name }, g) => `${name} ends at ${curves[g].at(-1)[1].toFixed(3)}`).join(", ") },
  label(4, 14, `${MEASURES[measure][0].toUpperCase()}${MEASURES[measure].slice(1)}, ${corpus}`, { class: "head" }),
  label(4, 32, measure === "perplexity" ? `${unit}; band: 95 % interval` : "mean over seeds; band: 95 % interval", { class: "faint" }),
  ...groups.map(({ name, seeds }, g) => label(4 + g * 205, 50, `${TWO[g][2]} ${clip(name, 22)}, n = ${seeds.length}`,
    { style: `fill: ${readable(TWO[g][0])}` })),
  ...[0, 0.5, 1].flatMap((f) => { const v = low + f * (high - low); return [
    element("line", { x1: left, x2: width - 12, y1: y(v), y2: y(v), stroke: "var(--dlt-line)", "stroke-width": 0.8 }),
    label(left - 6, y(v) + 4, v.toFixed(digits), { "text-anchor": "end" })]; }),
  ...curves.flatMap((points, g) => [
    element("polygon", { fill: TWO[g][0], opacity: 0.22, points: [...points.map(([s, m, h]) => `${x(s)},${y(m + h)}`),
      ...points.map(([s, m, h]) => `${x(s)},${y(m - h)}`).reverse()].join(" ") }),
    element("polyline", { "data-curve": groups[g].name, fill: "none", stroke: TWO[g][0], "stroke-width": 2,
      "stroke-dasharray": TWO[g][1], points: points.map(([s, m]) => `${x(s)},${y(m)}`).join(" ") }),
    ...points.map(([s, m]) => label(x(s), y(m) + 3.5, TWO[g][2], { "text-anchor": "middle",
      style: `fill: ${TWO[g][0]}; font-size: 9px` }))]),
  ...[0, last].map((s) => label(x(s), bottom + 16, String(s), { "text-anchor": s ? "end" : "start" })),
  label((left + width) / 2, bottom + 32, "optimiser steps", { "text-anchor": "middle" }));
}

// The tie map of each seed's tested model, the two groups side by side.
function drawSideBySide(groups) {
  const seeds = [...new Set(groups.flatMap((group) => group.seeds))].sort((a, b) => a - b);
  const layers = Math.max(...groups.map((group) => group.maps[0].length));
  const [width, half, rowHeight] = [415, 180, 22];
  const size = Math.min(20, (half - 8) / layers);
  const column = (g) => 46 + g * (half + 4);
  const svg = element("svg", { viewBox: `0 0 ${width} ${66 + seeds.length * rowHeight}`, role: "img",
    "aria-label": "Tie maps of the tested models, seed by seed" },
  label(4, 14, "Ties of the tested models", { class: "head" }), label(4, 32, "one colour and number: one weight set", { class: "faint" }),
  label(4, 54, "seed"), ...groups.map(({ name }, g) => label(column(g), 54, `${TWO[g][2]} ${clip(name, 18)}`, { style: `fill: ${readable(TWO[g][0])}` })));
  seeds.forEach((seed, row) => {
    const y = 62 + row * rowHeight;
    svg.append(label(20, y + 14, String(seed), { "text-anchor": "middle" }));
    groups.forEach((group, g) => {
      const map = group.maps[group.seeds.indexOf(seed)];
      if (!map) return;
      svg.append(element("g", { "data-map": map.join(), "data-group": g }, element("title", {}, `${group.name}, seed ${seed}: ${map.join(" ")}`),
        ...map.flatMap((source, i) => [
          element("rect", { x: column(g) + i * size, y, width: Math.max(1, size - 2), height: 18, rx: 2, fill: colour(source, map.length) }),
          size < 13 ? null : label(column(g) + i * size + size / 2 - 1, y + 13, String(source),
            { class: "number", "text-anchor": "middle", style: `fill: ${inkOn(source, map.length)}` })])
          .filter((child) => child !== null)));
    });
  });
  return svg;
}

// A dot for each seed, the mean with its 95 % interval, and the line of no difference.
function drawDifference(found, [a, b]) {
  const [width, left, right] = [840, 20, 820];
  const rows = found.values.length;
  const [mean, half] = [found.mean, found.half || 0];
  const extent = 1.1 * Math.max(1e-6, Math.abs(mean) + half, ...found.values.map(Math.abs));
  const x = (v) => (left + right) / 2 + (v / extent) * ((right - left) / 2);
  const ten = 10 ** Math.floor(Math.log10(extent / 2)); // the largest of 1, 2, 5, ... that fits twice to each side
  const tick = [5, 2, 1].find((n) => 2 * n * ten <= 0.95 * extent) * ten || ten / 2;
  const [first, rowHeight] = [52, 15];
  const bottom = first + rows * rowHeight + 30;
  return element("svg", { viewBox: `0 0 ${width} ${bottom + 36}`, role: "img", "aria-label":
    `Paired difference ${signed(mean)}${found.half === null ? "" : ` plus or minus ${half.toFixed(4)}`} bits per byte, ${found.verdict}` },
  label(4, 14, `${clip(a, 40)} minus ${clip(b, 40)}, seed by seed: test bits per byte`, { class: "head" }),
  label(x(0) - 10, 36, `← ${clip(a, 30)} is better`, { "text-anchor": "end", class: "faint" }),
  label(x(0) + 10, 36, `${clip(b, 30)} is better →`, { class: "faint" }),
  element("line", { x1: x(0), x2: x(0), y1: 26, y2: bottom, stroke: "var(--dlt-ink)", "stroke-dasharray": "3 3" }),
  ...found.values.flatMap((value, i) => [
    element("circle", { cx: x(value), cy: first + i * rowHeight, r: 4, fill: "none", stroke: "var(--dlt-blue)", "stroke-width": 1.8,
      "data-seed": found.seeds[i], "data-value": value }, element("title", {}, `seed ${found.seeds[i]}: ${signed(value)}`)),
    label(x(value) + 9, first + i * rowHeight + 4, `seed ${found.seeds[i]}`, { class: "faint" })]),
  element("line", { x1: x(mean - half), x2: x(mean + half), y1: bottom - 14, y2: bottom - 14, stroke: "var(--dlt-ink)", "stroke-width": 2.5 }),
  element("polygon", { points: `${x(mean) - 6},${bottom - 14} ${x(mean)},${bottom - 20} ${x(mean) + 6},${bottom - 14} ${x(mean)},${bottom - 8}`,
    fill: "var(--dlt-ink)" }),
  element("line", { x1: left, x2: right, y1: bottom, y2: bottom, stroke: "var(--dlt-line)" }),
  ...[-2, -1, 0, 1, 2].map((n) => label(x(n * tick), bottom + 16, n ? signed(n * tick) : "0", { "text-anchor": "middle" })),
  label(width / 2, bottom + 32, "◆ mean, bar: 95 % interval (Student's t)", { "text-anchor": "middle", class: "faint" }));
}

function render({ model, el }) {
  prepare(el, "compare_runs");
  el.classList.add("dlt-compare");
  let measure = "bits_per_byte";
  const verdict = element("div", { class: "verdict", role: "status", "aria-live": "polite", "data-role": "verdict" });
  const [choices, panels, below] = ["choices", "panels", "below"].map((name) => element("div", { class: name }));

  function choice(name, words, options, value, onchange) {
    const select = element("select", { "data-choice": name, onchange: () => onchange(select.value) },
      ...options.map(([key, shown]) => element("option", { value: key, selected: key === value }, shown)));
    choices.append(element("label", {}, words, select));
  }
  function draw() {
    const runs = model.get("runs");
    const names = [model.get("first"), model.get("second")];
    const groups = names.map((name) => runs.groups.find((group) => group.name === name));
    const kept = document.activeElement && choices.contains(document.activeElement) ? document.activeElement.dataset.choice : null;
    choices.replaceChildren();
    const all = runs.groups.map(({ name, seeds }) => [name, `${name} (${seeds.length} ${seeds.length === 1 ? "seed" : "seeds"})`]);
    const set = (trait) => (value) => { model.set(trait, value); model.save_changes(); draw(); };
    choice("first", "● first", all, names[0], set("first"));
    choice("second", "■ second", all, names[1], set("second"));
    choice("measure", "curve of", Object.entries(MEASURES).map(([key, words]) =>
      [key, words]), measure, (value) => { measure = value; draw(); });
    if (kept) choices.querySelector(`[data-choice=${kept}]`).focus();
    const found = runs.differences[names.join(" minus ")];
    const test = groups.map(({ name, test: { mean, half } }) => `${name} ${mean.toFixed(4)}${half === null ? "" : ` ± ${half.toFixed(4)}`}`);
    const pairs = found && (found.values.length === 1 ? "1 pair" : `${found.values.length} pairs`);
    verdict.textContent = `Test bits per byte: ${[...new Set(test)].join("; ")}. ` + (names[0] === names[1] ? "Choose another one to compare with."
      : !found ? "The two have no seed in common, so there are no pairs."
        : `${names[0]} minus ${names[1]}: ${signed(found.mean)}${found.half === null ? "" : ` ± ${found.half.toFixed(4)}`}, ` +
          `${found.verdict} (${pairs}).`);
    panels.replaceChildren(drawCurves(groups, measure, runs), drawSideBySide(groups));
    below.replaceChildren(...(found ? [drawDifference(found, names)] : []));
  }
  el.append(element("style", {}, COMPARE_STYLE), choices, verdict, panels, below);
  model.on("change:runs", draw);
  model.on("change:first", draw);
  model.on("change:second", draw);
  draw();
}

export default { render };
