// The closed forms of dlt_core/learner/accounting.py, number for number; tests hold the two together.
const PARTS = ["weights", "gradients", "optimizer", "activations"];
const PART_NAMES = { weights: "weights", gradients: "gradients", optimizer: "moments", activations: "activations" };
const PART_LETTERS = { weights: "W", gradients: "G", optimizer: "M", activations: "A" };
const PART_COLOURS = { weights: BLUE, gradients: PINK, optimizer: BROWN, activations: GREY };
const PART_INK = { weights: "#fff", gradients: "#000", optimizer: "#fff", activations: "#000" };

function blockParameters(d) {
  return 12 * d ** 2 + 13 * d;
}

function modelParameters(shape, groups) {
  const { vocab_size: V, n_positions: P, n_embd: d } = shape;
  const outside =
    shape.architecture === "bert" ? (V + P + 2) * d + 2 * d + d ** 2 + d + 2 * d + V : (V + P) * d + 2 * d;
  return outside + groups * blockParameters(d);
}

function chunkSize(tokens, V, atOnce) {
  return Math.min(tokens, Math.max(1, Math.floor(atOnce / V)));
}

function activationBytes(shape, batch, checkpointing, atOnce) {
  const { vocab_size: V, n_embd: d, n_head: h, n_layer: L, block_size: T } = shape;
  const [widths, statistics] = shape.architecture === "bert" ? [5, 4] : [2, 2];
  const block = checkpointing ? d : 16 * d + h + 4;
  const tokens = batch * T;
  const values = tokens * (L * block + widths * d + statistics);
  const indices = batch * (T + 1) + T;
  if (chunkSize(tokens, V, atOnce) < tokens) {
    return 4 * (values + V * d + (shape.architecture === "bert" ? V : 0)) + 8 * indices;
  }
  return 4 * (values + tokens * V + 1) + 8 * (indices + tokens);
}

function peakBytes(shape, groups, batch, checkpointing, atOnce) {
  const { vocab_size: V, n_embd: d, n_head: h, block_size: T } = shape;
  const tokens = batch * T;
  const weights = 4 * modelParameters(shape, groups);
  const activations = activationBytes(shape, batch, checkpointing, atOnce);
  const [logits, embedding, width] = [4 * tokens * V, 4 * V * d, 4 * tokens * d];
  const again = checkpointing ? 4 * tokens * (16 * d + h + 4) : 0;
  const chunk = chunkSize(tokens, V, atOnce);
  if (chunk < tokens) {
    return Math.max(
      3 * weights + activations + 2 * 4 * chunk * V,
      3 * weights + activations + 3 * width + again,
      4 * weights + Math.max(embedding, again),
    );
  }
  return Math.max(
    3 * weights + activations + 2 * logits,
    3 * weights + activations - logits + embedding + 3 * width + again,
    4 * weights + Math.max(2 * embedding, again),
  );
}

function memoryOf(shape, groups, batch, checkpointing, atOnce) {
  const parameters = modelParameters(shape, groups);
  const one = 4 * parameters;
  const activations = activationBytes(shape, batch, checkpointing, atOnce);
  return {
    parameters,
    weights: one,
    gradients: one,
    optimizer: 2 * one,
    state: 4 * one,
    activations,
    total: 4 * one + activations,
    peak: peakBytes(shape, groups, batch, checkpointing, atOnce),
  };
}

// The menu of models, the batch slider and the checkpointing box, which two widgets have; call the result to refresh.
function memoryControls(model, place, onModel) {
  const menu = element("select", { "data-control": "model", "aria-label": "model", onchange: () => onModel(menu.value) });
  for (const name of Object.keys(model.get("shapes"))) menu.append(element("option", { value: name }, name));
  const batch = element("input", {
    type: "range", min: 1, max: 64, step: 1, "data-control": "batch", "aria-label": "batch size, sequences in a step",
    oninput: () => change(model, { batch_size: Number(batch.value) }),
  });
  const shown = element("output", { "data-output": "batch" });
  const box = element("input", {
    type: "checkbox", "data-control": "checkpointing",
    onchange: () => change(model, { checkpointing: box.checked }),
  });
  place.append(
    element("label", {}, "model ", menu),
    element("label", {}, "batch ", batch, shown),
    element("label", {}, box, " activation checkpointing"),
  );
  return () => {
    menu.value = model.get("model");
    batch.value = model.get("batch_size");
    shown.textContent = ` ${model.get("batch_size")} x ${model.get("shapes")[model.get("model")].block_size} tokens`;
    box.checked = model.get("checkpointing");
  };
}
