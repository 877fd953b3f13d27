"""A notebook's stop button: one sentence, and the record so far."""

import time

import pytest

RUN = """
from dlt_core import Experiment, train_dynamic
experiment = Experiment.preset("gpt2-embedded", "smoke", device="cpu", episodes=2000)
train_dynamic(experiment, on_decision=lambda record: open("decided", "w").close(), {})
"""


def reply_to(asked, client):
    while (message := client.get_shell_msg(timeout=60))["parent_header"]["msg_id"] != asked:
        pass
    return message["content"]


def test_the_stop_button_gives_one_sentence_and_the_record_so_far(tiny_data, tmp_path):
    manager = pytest.importorskip("jupyter_client.manager")
    kernel, client = manager.start_new_kernel(cwd=str(tmp_path))
    try:
        for places, kept in (
            ('checkpoint="c"', "They are kept in c: the same call goes on there"),
            ("", "Its model is not kept, since no checkpoint=... was named"),
        ):
            # the default would drop a cell that is sent while the kernel clears its queue after the error
            asked = client.execute(RUN.format(places), stop_on_error=False)
            end = time.monotonic() + 60
            while not (tmp_path / "decided").exists():
                assert time.monotonic() < end
                time.sleep(0.01)
            kernel.interrupt_kernel()
            reply = reply_to(asked, client)
            (sentence,) = reply["traceback"]
            assert reply["ename"] == "RunStopped"
            assert "gpt2-embedded-smoke-" in sentence
            assert f"of 6000 decisions. {kept}. The record so far is sys.last_value.record" in sentence
            said = client.execute("import sys", user_expressions={"record": "str(sys.last_value.record)"})
            assert reply_to(said, client)["user_expressions"]["record"]["data"]["text/plain"].endswith(": stopped'")
            (tmp_path / "decided").unlink()
        assert (tmp_path / "c").exists()
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
