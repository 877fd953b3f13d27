// A model without a kernel: traits in JSON, and whoever listens to them.
function pageModel(state) {
  const listeners = {};
  return {
    get: (name) => state[name],
    set(name, value) {
      if (JSON.stringify(state[name]) === JSON.stringify(value)) return;
      state[name] = value;
      (listeners[`change:${name}`] ?? []).forEach((listener) => listener());
    },
    on(event, listener) {
      (listeners[event] ??= []).push(listener);
    },
    off() {},
    send() {},
    save_changes() {},
  };
}

globalThis.dltModels = {};
globalThis.dltMount = (name, widget) => {
  const model = pageModel(JSON.parse(document.getElementById(`state-${name}`).textContent));
  globalThis.dltModels[name] = model;
  widget.render({ model, el: document.querySelector(`[data-widget="${name}"]`) });
};
