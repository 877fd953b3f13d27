// Layers are tiles in an SVG. A tile pressed once is chosen; the next tile says whom it shares with.
const PATTERN_NAMES = ["all tied", "independent", "sequence", "cycle", "cycle_rev", "sandwich", "pairs", "mirror"];

function fromLabels(labels) {
  const first = new Map();
  return labels.map((label, i) => {
    if (!first.has(label)) first.set(label, i);
    return first.get(label);
  });
}

// TieMap.pattern of dlt_core/tie_map.py.
function pattern(name, n, m) {
  const bottom = Math.ceil((m - 1) / 2);
  const top = m - 1 - bottom;
  const lastTurn = m * (Math.ceil(n / m) - 1);
  const group = {
    "all tied": () => 0,
    independent: (i) => i,
    sequence: (i) => Math.floor((i * m) / n),
    cycle: (i) => i % m,
    cycle_rev: (i) => (i < lastTurn ? i % m : m - 1 - (i % m)),
    sandwich: (i) => (bottom <= i && i < n - top ? bottom : i),
    pairs: (i) => Math.floor(i / 2),
    mirror: (i) => Math.min(i, n - 1 - i),
  }[name];
  return fromLabels(Array.from({ length: n }, (_, i) => group(i)));
}

// The map after `layer` has joined the group of `other`, or has left its own if both are the same layer.
function regroup(tieMap, layer, other) {
  const labels = [...tieMap];
  labels[layer] = layer === other ? "alone" : tieMap[other];
  return fromLabels(labels);
}

function render({ model, el }) {
  prepare(el, "tie_map_editor");
  let chosen = null;
  let focused = 0;
  let width = 700;
  let dragged = null;

  const shape = () => model.get("shapes")[model.get("model")];
  const controls = element("div", { class: "dlt-controls" });
  const refreshControls = memoryControls(model, controls, (name) => {
    const { n_layer: n, batch_size } = model.get("shapes")[name];
    chosen = null;
    focused = 0;
    patterns.value = "";
    change(model, { model: name, tie_map: Array(n).fill(0), batch_size });
  });
  const patterns = element("select", { "data-control": "pattern", "aria-label": "pattern of ties", onchange: take });
  patterns.append(element("option", { value: "" }, "a pattern ..."));
  for (const name of PATTERN_NAMES) patterns.append(element("option", { value: name }, name));
  const sets = element("input", {
    type: "number", min: 1, value: 2, "data-control": "groups", "aria-label": "weight sets of the pattern", onchange: take,
  });
  controls.append(element("label", {}, "pattern ", patterns), element("label", {}, "sets ", sets));

  const tiles = element("div", { class: "dlt-tiles" });
  const hint = element("div", { class: "dlt-hint", role: "status", "aria-live": "polite" });
  const list = element("code", { "data-output": "list", tabindex: 0, "aria-label": "the map as a list" });
  const copied = element("span", { role: "status", class: "dlt-faint" });
  const copy = element("button", { "data-control": "copy", onclick: copyList }, "Copy");
  const bars = element("div");
  const table = element("div");
  el.append(
    controls, tiles, hint, element("div", { class: "dlt-controls" }, list, copy, copied), bars, table,
  );

  function take() {
    if (!patterns.value) return;
    const n = shape().n_layer;
    const m = Math.min(n, Math.max(1, Math.round(Number(sets.value) || 1)));
    sets.value = m;
    chosen = null;
    change(model, { tie_map: pattern(patterns.value, n, m) });
  }

  async function copyList() {
    try {
      await navigator.clipboard.writeText(list.textContent);
      copied.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(list);
      copied.textContent = "marked: press Ctrl-C";
    }
  }

  function join(layer, other) {
    chosen = null;
    patterns.value = "";
    change(model, { tie_map: regroup(model.get("tie_map"), layer, other) });
    drawTiles();
  }

  function press(layer) {
    focused = layer;
    if (chosen === null) {
      chosen = layer;
      drawTiles();
    } else join(chosen, layer);
  }

  function key(event) {
    const n = shape().n_layer;
    const columns = perRow();
    const moves = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
    if (event.key in moves) focused = Math.min(n - 1, Math.max(0, focused + moves[event.key]));
    else if (event.key === "Home") focused = 0;
    else if (event.key === "End") focused = n - 1;
    else if (event.key === "Escape") chosen = null;
    else if (event.key === "Enter" || event.key === " ") press(focused);
    else return;
    event.preventDefault();
    drawTiles();
    tiles.querySelector(`[data-layer="${focused}"]`).focus();
  }

  function perRow() {
    const n = shape().n_layer;
    const most = Math.floor(width / 36);
    return Math.ceil(n / Math.ceil(n / most));
  }

  function drawTiles() {
    const map = model.get("tie_map");
    const n = map.length;
    const columns = perRow();
    const cell = Math.min(64, Math.floor(width / columns));
    const rows = Math.ceil(n / columns);
    const longest = Math.max(...map.map((source, i) => i - source));
    const rise = (long) => 16 + 84 * Math.min(1, long / 12);
    const arcs = rows === 1 && longest ? 0.75 * rise(longest) + 6 : 0;
    const height = cell + 18;
    const svg = element("svg", {
      width: columns * cell, height: arcs + rows * height + 4, role: "group",
      "aria-label": `${n} layers in ${new Set(map).size} weight sets; arrow keys move, Enter chooses`,
    });
    const x = (i) => (i % columns) * cell + cell / 2;
    if (arcs) {
      map.forEach((source, i) => {
        if (source === i) return;
        const high = arcs - rise(i - source);
        svg.append(element("path", {
          d: `M ${x(i)} ${arcs} C ${x(i)} ${high}, ${x(source)} ${high}, ${x(source)} ${arcs}`,
          fill: "none", stroke: colour(source, n), "stroke-width": 2,
        }));
      });
    }
    map.forEach((source, i) => {
      const [left, top] = [(i % columns) * cell, arcs + Math.floor(i / columns) * height];
      const own = source === i;
      const says = own ? "weights of its own" : `uses the weights of layer ${source}`;
      const tile = element(
        "g",
        {
          class: "dlt-tile", role: "button", tabindex: i === focused ? 0 : -1, "data-layer": i, "data-source": source,
          "aria-pressed": i === chosen, "aria-label": `layer ${i}: ${says}`, onclick: () => press(i), onkeydown: key,
          onpointerdown: () => { dragged = i; },
          onpointerup: () => {
            if (dragged !== null && dragged !== i) {
              chosen = null;
              join(dragged, i);
            }
            dragged = null;
          },
        },
        element("title", {}, `layer ${i}: ${says}`),
        element("rect", {
          x: left + 3, y: top + 3, width: cell - 6, height: cell - 6, rx: 5, fill: colour(source, n),
          stroke: i === chosen ? "var(--dlt-mark)" : "var(--dlt-ink)", "stroke-width": i === chosen ? 5 : own ? 2.5 : 0,
          "stroke-dasharray": i === chosen ? "5 3" : null,
        }),
        element("text", {
          x: left + cell / 2, y: top + cell / 2 + 5, "text-anchor": "middle", class: "dlt-in",
          style: `fill: ${inkOn(source, n)}; font-weight: ${own ? 700 : 400}`,
        }, String(source)),
        element("text", {
          x: left + cell / 2, y: top + cell + 12, "text-anchor": "middle", class: "dlt-small",
        }, rows === 1 && cell > 54 ? `layer ${i}` : String(i)),
      );
      svg.append(tile);
    });
    const hadFocus = tiles.contains(document.activeElement);
    tiles.replaceChildren(svg);
    if (hadFocus) tiles.querySelector(`[data-layer="${focused}"]`).focus({ preventScroll: true });
    const members = chosen === null ? [] : map.flatMap((source, i) => (source === map[chosen] && i !== chosen ? [i] : []));
    hint.textContent =
      chosen === null
        ? "Press a layer, then the layer it is to share weights with; or drag one onto the other. A frame: weights of its own."
        : `Layer ${chosen} is chosen${members.length ? ` (shares with ${members.length > 8 ? `${members.length} others` : members.join(", ")})` : ""}. ` +
          `Press a layer to share with, or layer ${chosen} again for weights of its own.`;
  }

  function drawCosts() {
    const map = model.get("tie_map");
    const args = [model.get("batch_size"), model.get("checkpointing"), model.get("logits_at_once")];
    const groups = new Set(map).size;
    const here = memoryOf(shape(), groups, ...args);
    const whole = memoryOf(shape(), map.length, ...args);
    list.textContent = `[${map.join(", ")}]`;
    copied.textContent = "";
    const label = 112;
    const scale = (width - label - 4) / Math.max(here.total, whole.total);
    const svg = element("svg", {
      width, height: 72, role: "img",
      "aria-label": `training memory: ${inBytes(here.total)} with this map, ${inBytes(whole.total)} without ties`,
    });
    [["this map", here], ["without ties", whole]].forEach(([name, of], row) => {
      svg.append(element("text", { x: label - 8, y: row * 36 + 23, "text-anchor": "end" }, name));
      let left = label;
      for (const part of PARTS) {
        const wide = of[part] * scale;
        svg.append(
          element("rect", {
            x: left, y: row * 36 + 4, width: Math.max(0, wide), height: 28, fill: PART_COLOURS[part],
            stroke: "var(--dlt-back)",
          }, element("title", {}, `${PART_NAMES[part]}: ${inBytes(of[part])}`)),
        );
        const word = wide > 7 * PART_NAMES[part].length ? PART_NAMES[part] : wide > 14 ? PART_LETTERS[part] : "";
        svg.append(element("text", {
          x: left + wide / 2, y: row * 36 + 23, "text-anchor": "middle", class: "dlt-in",
          style: `fill: ${PART_INK[part]}`,
        }, word));
        left += wide;
      }
    });
    bars.replaceChildren(svg);
    const times = (a, b) => (b / a < 1.005 ? "the same" : `÷ ${(b / a).toFixed(2)}`);
    const rows = [
      ["weight sets", "groups", groups, map.length, thousands],
      ["parameters", "parameters", here.parameters, whole.parameters, thousands],
      ["weights", "weights", here.weights, whole.weights, inBytes],
      ["gradients", "gradients", here.gradients, whole.gradients, inBytes],
      ["moments (AdamW's two)", "optimizer", here.optimizer, whole.optimizer, inBytes],
      ["activations", "activations", here.activations, whole.activations, inBytes],
      ["all four", "total", here.total, whole.total, inBytes],
    ];
    const head = ["", "this map", "without ties", ""].map((name) => element("th", { scope: "col" }, name));
    table.replaceChildren(
      element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows.map(
        ([name, id, a, b, show]) => element("tr", {},
          element("th", { scope: "row" },
            PART_COLOURS[id] ? element("span", { class: "dlt-swatch", style: `background: ${PART_COLOURS[id]}` }) : null,
            name),
          element("td", { "data-output": id, "data-value": a }, show(a)),
          element("td", { "data-output": `conventional-${id}`, "data-value": b }, show(b)),
          element("td", { class: "dlt-faint" }, times(a, b))),
      ))),
    );
  }

  function draw() {
    const map = model.get("tie_map");
    focused = Math.min(focused, map.length - 1);
    refreshControls();
    sets.max = map.length;
    sets.disabled = ["all tied", "independent", "pairs", "mirror"].includes(patterns.value);
    drawTiles();
    drawCosts();
  }

  for (const name of ["model", "tie_map", "batch_size", "checkpointing"]) model.on(`change:${name}`, draw);
  const drop = () => { dragged = null; };
  document.addEventListener("pointerup", drop);
  const stop = fitted(el, (room) => {
    width = room;
    draw();
  });
  return () => {
    stop();
    document.removeEventListener("pointerup", drop);
  };
}

export default { render };
