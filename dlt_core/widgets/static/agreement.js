// Whose gradients agree: cosines of one look, beside the maps of all looks. All numbers come with the state.

const AGREEMENT_STYLE = `
.dlt-agreement { --dlt-mark: var(--jp-brand-color1, var(--dlt-blue)); }
.dlt-agreement .choices { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 4px 14px; }
.dlt-agreement label { font-size: 12.5px; }
.dlt-agreement label output { float: right; }
.dlt-widget.dlt-agreement :is(select, input[type=range]) { width: 100%; height: 26px; margin: 0; box-sizing: border-box; }
.dlt-agreement .verdict { margin: 8px 0; padding: 6px 10px; border-left: 4px solid var(--dlt-mark); min-height: 4.2em; }
.dlt-agreement [role=button] { cursor: pointer; }
.dlt-agreement .chosen { fill: none; stroke: var(--dlt-ink); stroke-width: 1.5; }`;

const steps = (look) => (look.warm_up ? `after ${look.warm_up} steps` : "before the first step");

// Full colour: the same (blue) or the opposite (red) direction; the colour of the page: nothing to do with each other.
function drawCosines({ cosines, choices }, sets) {
  const [width, left, top, layers] = [400, 56, 64, cosines.length];
  const size = Math.floor((width - left - 10) / layers);
  const { map } = choices[sets];
  const svg = element("svg", { viewBox: `0 0 ${width} ${top + layers * size + 8}`, role: "img",
    "aria-label": "Cosines between the gradients of the layers; boxes: layers that the chosen map would tie" },
  label(4, 14, "Do the gradients of two layers agree?", { class: "head" }),
  label(4, 33, "cosine: 1 the same way, 0 unrelated, below 0 they fight", { class: "faint" }),
  label(4, top - 8, "layer", { class: "faint" }));
  cosines.forEach((row, i) => {
    svg.append(label(left - 8, top + i * size + size / 2 + 4, String(i), { "text-anchor": "end" }),
      label(left + i * size + size / 2, top - 8, String(i), { "text-anchor": "middle" }));
    row.forEach((cosine, j) => {
      const [x, y] = [left + j * size, top + i * size];
      const full = cosine < 0 ? VERMILLION : BLUE;
      svg.append(element("g", { "data-cosine": cosine, "data-pair": `${i},${j}` },
        element("title", {}, `layers ${i} and ${j}: ${signed(cosine, 2)}`),
        element("rect", { x, y, width: size - 1, height: size - 1,
          fill: `color-mix(in srgb, ${full} ${Math.round(100 * Math.abs(cosine))}%, var(--dlt-back))` }),
        size < 36 ? null : label(x + size / 2, y + size / 2 + 4, signed(cosine, 2), { class: "number", "text-anchor": "middle",
          style: cosine > 0.95 ? "fill: #fff" : "" }))); // paler blues, and all reds, are read better in the page's ink
    });
  });
  map.forEach((root, i) => map.forEach((other, j) => {
    if (root !== other) return;
    const [x, y] = [left + j * size - 0.5, top + i * size - 0.5];
    const edge = (x1, y1, x2, y2) => svg.append(element("line", { x1, y1, x2, y2, stroke: "var(--dlt-ink)", "stroke-width": 2 }));
    if (map[i - 1] !== root) edge(x, y, x + size, y);
    if (map[i + 1] !== root) edge(x, y + size, x + size, y + size);
    if (map[j - 1] !== root) edge(x, y, x, y + size);
    if (map[j + 1] !== root) edge(x + size, y, x + size, y + size);
  }));
  return svg;
}

// The map that the rule would choose at each look, one below the other; a row chooses the look.
function drawChoices(looks, now, sets, choose) {
  const [width, left, top, rowHeight] = [400, 130, 64, 34];
  const layers = looks[0].cosines.length;
  const size = Math.min(40, (width - left - 10) / layers);
  const svg = element("svg", { viewBox: `0 0 ${width} ${top + looks.length * rowHeight + 8}`, role: "group",
    "aria-label": "The map that the rule would choose, look by look" },
  label(4, 14, `The map of ${sets} weight sets that the rule would choose`, { class: "head" }),
  label(4, 33, "one colour and number: one weight set", { class: "faint" }),
  label(4, top - 8, "layer", { class: "faint" }),
  ...looks[0].cosines.map((_, i) => label(left + i * size + size / 2 - 1, top - 8, String(i), { "text-anchor": "middle", class: "faint" })));
  looks.forEach((look, n) => {
    const [y, { map }] = [top + n * rowHeight, look.choices[sets]];
    const pick = (event) => {
      if (event.type === "keydown" && event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      choose(n);
    };
    svg.append(element("g", { role: "button", tabindex: 0, "aria-pressed": String(n === now), "aria-label": `${steps(look)}: ${map.join(" ")}`,
      "data-look": look.warm_up, "data-map": map.join(), onclick: pick, onkeydown: pick },
    element("rect", { x: 0, y, width, height: rowHeight - 2, fill: "transparent" }),
    label(4, y + 20, steps(look)),
    ...map.flatMap((root, i) => [
      element("rect", { x: left + i * size, y: y + 4, width: size - 2, height: 24, rx: 2, fill: colour(root, layers) }),
      label(left + i * size + size / 2 - 1, y + 20, String(root), { class: "number", "text-anchor": "middle",
        style: `fill: ${inkOn(root, layers)}` })]),
    n === now ? element("rect", { x: 1, y: y + 1, width: width - 2, height: rowHeight - 4, rx: 3, class: "chosen" }) : null));
  });
  return svg;
}

function render({ model, el }) {
  prepare(el, "agreement");
  el.classList.add("dlt-agreement");
  const verdict = element("div", { class: "verdict", role: "status", "aria-live": "polite", "data-role": "verdict" });
  const [choices, panels] = ["choices", "panels"].map((name) => element("div", { class: name }));
  const field = (words, input, ...more) => { choices.append(element("label", {}, words, ...more, input)); return input; };
  const looksOf = (name) => model.get("models")[name];
  const of = field("model", element("select", { "data-choice": "model", onchange: () => change(model, { model: of.value }) },
    ...Object.keys(model.get("models")).map((name) => element("option", { value: name }, name))));
  const shown = element("output", {});
  const time = field("training, all layers tied", element("input", { type: "range", min: 0, step: 1, "data-choice": "warm_up",
    "aria-label": "look", oninput: () => change(model, { warm_up: looksOf(model.get("model"))[Number(time.value)].warm_up }) }), shown);
  const sets = field("weight sets", element("select", { "data-choice": "sets",
    onchange: () => change(model, { sets: Number(sets.value) }) }));

  function draw() {
    const looks = looksOf(model.get("model"));
    const now = Math.max(0, looks.findIndex((look) => look.warm_up === model.get("warm_up")));
    const number = String(model.get("sets"));
    const { map, within, across } = looks[now].choices[number];
    of.value = model.get("model");
    [time.max, time.value] = [looks.length - 1, now];
    shown.textContent = steps(looks[now]);
    sets.replaceChildren(...Object.keys(looks[now].choices).map((n) => element("option", { value: n }, n)));
    sets.value = number;
    const mean = (value) => (value === null ? "no pairs" : signed(value, 2));
    verdict.textContent = `${steps(looks[now])[0].toUpperCase()}${steps(looks[now]).slice(1)}, with ${number} weight sets, the rule would ` +
      `choose [${map.join(", ")}]. Mean cosine of two layers that would share: ${mean(within)}; of two that would not: ${mean(across)}. ` +
      `(One seed: ${looks[now].seed}.)`;
    const kept = document.activeElement && panels.contains(document.activeElement);
    panels.replaceChildren(drawCosines(looks[now], number),
      drawChoices(looks, now, number, (n) => change(model, { warm_up: looks[n].warm_up })));
    if (kept) panels.querySelector("[aria-pressed=true]").focus();
  }
  el.append(element("style", {}, AGREEMENT_STYLE), choices, verdict, panels);
  for (const trait of ["model", "warm_up", "sets"]) model.on(`change:${trait}`, draw);
  draw();
}

export default { render };
