"""Runs a program on a terminal of its own (100 columns, 24 lines).

argv[1]: {"program": [...], "steps": [{"send": text} | {"until": text}, ...]}. `until` waits for a text in what came
after the step before. Prints {"shown": everything, "code": exit code, "missing": the text that did not come or null}.
"""

import fcntl
import json
import os
import pty
import select
import struct
import sys
import termios
import time

DEADLINE_SECONDS = 50
order = json.loads(sys.argv[1])
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    os.execvp(order["program"][0], order["program"])

shown = b""
seen = 0
missing = None
deadline = time.monotonic() + DEADLINE_SECONDS


def read():
    """False at the end of the program or of the time."""
    global shown
    ready, _, _ = select.select([terminal], [], [], max(0, deadline - time.monotonic()))
    try:
        chunk = os.read(terminal, 65536) if ready else b""
    except OSError:
        chunk = b""
    shown += chunk
    return chunk != b""


for step in order["steps"]:
    if "send" in step:
        os.write(terminal, step["send"].encode())
        continue
    text = step["until"].encode()
    while text not in shown[seen:] and read():
        pass
    if text not in shown[seen:]:
        missing = step["until"]
        break
    seen = shown.index(text, seen) + len(text)
while missing is None and read():
    pass
if missing is not None or time.monotonic() > deadline:
    os.kill(pid, 9)
_, status = os.waitpid(pid, 0)
print(json.dumps({"shown": shown.decode(errors="replace"), "code": os.waitstatus_to_exitcode(status), "missing": missing}))
