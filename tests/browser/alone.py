"""A widget alone on a plain page: no kernel, no network, a model that is nothing but its JSON state."""

import json

import pytest

from dlt_core.widgets.base import Widget, style

PAGE = """<!doctype html><meta charset="utf-8"><style>STYLE</style><div id="widget"></div><script type="module">
const state = STATE, listeners = {}, SENDS;
const model = {
  get: (name) => state[name],
  set: (name, value) => { state[name] = value; (listeners[`change:${name}`] || []).forEach((tell) => tell()); },
  on: (event, tell) => { (listeners[event] ||= []).push(tell); },
  save_changes() {}, ...sends,
};
Object.assign(window, { state, model });
const made = await import(URL.createObjectURL(new Blob([SOURCE], { type: "text/javascript" })));
made.default.render({ model, el: document.getElementById("widget") });
window.ready = true;
</script>"""


def alone(browser, widget: Widget, name: str, *, kernel: bool = False):
    """The page; `window.state` is the state. kernel: the model can send, as if there were one."""

    def as_script(value) -> str:
        return json.dumps(value).replace("</", "<\\/")

    parts = {
        "STYLE": style(),
        "STATE": as_script(widget.state()),
        "SENDS": "sends = { send() {} }" if kernel else "sends = {}",
        "SOURCE": as_script(widget._esm),
    }
    text = PAGE
    for mark, part in parts.items():
        text = text.replace(mark, part, 1)
    page = browser.new_page(viewport={"width": 900, "height": 800})
    page.on("pageerror", lambda error: pytest.fail(f"the page says: {error}"))
    page.set_content(text)
    page.wait_for_function("window.ready")
    return page
