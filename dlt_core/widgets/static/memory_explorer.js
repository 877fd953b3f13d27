// A bar for each number of weight sets; a dashed line at a tenth of what the conventional model needs.
const COUNTS = [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 24, 32, 48];

function render({ model, el }) {
  prepare(el, "memory_explorer");
  let width = 700;
  const shape = () => model.get("shapes")[model.get("model")];
  const controls = element("div", { class: "dlt-controls" });
  const refreshControls = memoryControls(model, controls, (name) => {
    const { n_layer, batch_size } = model.get("shapes")[name];
    change(model, { groups: Math.min(model.get("groups"), n_layer), model: name, batch_size });
  });
  const include = element("input", {
    type: "checkbox", "data-control": "activations",
    onchange: () => change(model, { activations: include.checked }),
  });
  controls.append(element("label", {}, include, " activations"));
  const chart = element("div");
  const verdict = element("p", { "data-output": "verdict", role: "status" });
  const table = element("div");
  el.append(controls, chart, verdict, table);

  const of = (groups) =>
    memoryOf(shape(), groups, model.get("batch_size"), model.get("checkpointing"), model.get("logits_at_once"));

  function counts() {
    const n = shape().n_layer;
    const chosen = [...COUNTS.filter((g) => g < n), n, Math.min(model.get("groups"), n)];
    return n <= 12 ? Array.from({ length: n }, (_, i) => i + 1) : [...new Set(chosen)].sort((a, b) => a - b);
  }

  function key(event) {
    const all = counts();
    const at = all.indexOf(model.get("groups"));
    const moves = { ArrowRight: at + 1, ArrowUp: at + 1, ArrowLeft: at - 1, ArrowDown: at - 1, Home: 0, End: all.length - 1 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    change(model, { groups: all[Math.max(0, Math.min(all.length - 1, moves[event.key]))] });
    chart.querySelector('[aria-checked="true"]').focus();
  }

  function drawChart() {
    const parts = model.get("activations") ? PARTS : PARTS.slice(0, 3);
    const all = counts();
    const n = shape().n_layer;
    const bars = all.map((g) => [g, of(g)]);
    const stack = (memory) => parts.reduce((sum, part) => sum + memory[part], 0);
    const whole = of(n);
    const top = 1.06 * Math.max(stack(whole), model.get("activations") ? whole.peak : 0);
    const [left, high] = [66, 250];
    const room = width - left - 6;
    const step = room / all.length;
    const y = (bytes) => 14 + (1 - bytes / top) * (high - 14);
    const svg = element("svg", {
      width, height: high + 54, role: "radiogroup",
      "aria-label": "training memory over the number of weight sets; arrow keys choose one",
    });
    for (const part of [0, 0.25, 0.5, 0.75, 1]) {
      const bytes = (top / 1.06) * part;
      svg.append(
        element("line", { x1: left, x2: width - 6, y1: y(bytes), y2: y(bytes), stroke: "var(--dlt-line)" }),
        element("text", { x: left - 6, y: y(bytes) + 4, "text-anchor": "end", class: "dlt-small" }, part ? inBytes(bytes) : "0"),
      );
    }
    bars.forEach(([g, memory], index) => {
      const x = left + index * step;
      const chosen = g === model.get("groups");
      const bar = element("g", {
        role: "radio", "aria-checked": chosen, tabindex: chosen ? 0 : -1, "data-groups": g, class: "dlt-tile",
        "aria-label": `${g} weight sets: ${inBytes(stack(memory))}`, onkeydown: key,
        onclick: () => {
          change(model, { groups: g });
          chart.querySelector('[aria-checked="true"]').focus({ preventScroll: true });
        },
      }, element("title", {}, `${g} weight sets: ${inBytes(stack(memory))}, peak ${inBytes(memory.peak)}`),
      element("rect", { x, y: 14, width: step, height: high + 8, fill: "transparent" }));
      let sum = 0;
      for (const part of parts) {
        bar.append(element("rect", {
          x: x + step * 0.14, y: y(sum + memory[part]), width: step * 0.72, height: y(sum) - y(sum + memory[part]),
          fill: PART_COLOURS[part], stroke: "var(--dlt-back)", "stroke-width": 0.5, "data-part": part,
        }));
        const tall = y(sum) - y(sum + memory[part]);
        if (tall > 15 && step > 26) {
          bar.append(element("text", {
            x: x + step / 2, y: y(sum + memory[part] / 2) + 4, "text-anchor": "middle", class: "dlt-in",
            style: `fill: ${PART_INK[part]}; font-size: 11px`,
          }, PART_LETTERS[part]));
        }
        sum += memory[part];
      }
      if (chosen) {
        bar.append(element("rect", {
          x: x + step * 0.06, y: y(sum) - 4, width: step * 0.88, height: high - y(sum) + 8, fill: "none",
          stroke: "var(--dlt-ink)", "stroke-width": 2.5, rx: 3,
        }));
      }
      if (model.get("activations")) {
        const [cx, cy] = [x + step / 2, y(memory.peak)];
        bar.append(element("rect", {
          x: cx - 4, y: cy - 4, width: 8, height: 8, fill: VERMILLION, stroke: "#fff",
          transform: `rotate(45 ${cx} ${cy})`,
        }));
      }
      bar.append(element("text", {
        x: x + step / 2, y: high + 16, "text-anchor": "middle", style: `font-weight: ${chosen ? 700 : 400}`,
      }, String(g)));
      svg.append(bar);
    });
    const tenth = y(stack(whole) / 10);
    svg.append(
      element("line", { x1: left, x2: width - 6, y1: tenth, y2: tenth, stroke: "var(--dlt-ink)", "stroke-width": 2, "stroke-dasharray": "7 4", "pointer-events": "none" }),
    );
    if (n === 48) {
      const [from, to] = [all.indexOf(7), all.indexOf(10)];
      const [x1, x2] = [left + from * step + 4, left + (to + 1) * step - 4];
      svg.append(
        element("path", { d: `M ${x1} ${high + 22} v 5 H ${x2} v -5`, fill: "none", stroke: "var(--dlt-ink)" }),
        element("text", { x: (x1 + x2) / 2, y: high + 41, "text-anchor": "middle" }, "7 to 10, say the reviews"),
      );
    }
    svg.append(element("text", { x: left - 6, y: high + 16, "text-anchor": "end", class: "dlt-small" }, "sets"));
    const legend = element("div", { class: "dlt-controls" }, ...parts.map((part) => element("span", {},
      element("span", { class: "dlt-swatch", style: `background: ${PART_COLOURS[part]}` }),
      `${PART_NAMES[part]} (${PART_LETTERS[part]})`)));
    if (model.get("activations")) {
      legend.append(element("span", {}, element("span", { style: `color: ${VERMILLION}` }, "◆ "), "peak of one step"));
    }
    legend.append(element("span", {}, "╌╌ the claim: a tenth of what the model without ties needs"));
    const hadFocus = chart.contains(document.activeElement);
    chart.replaceChildren(svg, legend);
    if (hadFocus) chart.querySelector('[aria-checked="true"]')?.focus({ preventScroll: true });
  }

  function drawTable() {
    const n = shape().n_layer;
    const [here, whole] = [of(Math.min(model.get("groups"), n)), of(n)];
    const sizes = Array.from({ length: n }, (_, i) => of(i + 1));
    const tenfold = (part) => sizes.filter((memory) => 10 * memory[part] <= whole[part]).length;
    const words = (part) => (tenfold(part) ? `up to ${tenfold(part)} weight sets` : "never");
    verdict.dataset.state = tenfold("state");
    verdict.dataset.peak = tenfold("peak");
    verdict.textContent =
      `Ten times less: by what is held between steps (weights, gradients, moments) ${words("state")}; ` +
      `by the peak of a step ${words("peak")}.`;
    const rows = [
      ["parameters", "parameters", thousands],
      ...PARTS.map((part) => [PART_NAMES[part], part, inBytes]),
      ["between steps: the first three", "state", inBytes],
      ["peak of one step", "peak", inBytes],
    ];
    const head = ["", `${model.get("groups")} weight set${model.get("groups") === 1 ? "" : "s"}`, `${n}, no ties`, ""];
    table.replaceChildren(element("table", {},
      element("thead", {}, element("tr", {}, ...head.map((name) => element("th", { scope: "col" }, name)))),
      element("tbody", {}, ...rows.map(([name, id, show]) => element("tr", {},
        element("th", { scope: "row" }, name),
        element("td", { "data-output": id, "data-value": here[id] }, show(here[id])),
        element("td", { "data-output": `conventional-${id}`, "data-value": whole[id] }, show(whole[id])),
        element("td", { class: "dlt-faint" },
          whole[id] / here[id] < 1.005 ? "the same" : `÷ ${(whole[id] / here[id]).toFixed(2)}`))))));
  }

  function draw() {
    refreshControls();
    include.checked = model.get("activations");
    drawChart();
    drawTable();
  }

  for (const name of ["model", "groups", "batch_size", "checkpointing", "activations"]) model.on(`change:${name}`, draw);
  return fitted(el, (room) => {
    width = room;
    draw();
  });
}

export default { render };
