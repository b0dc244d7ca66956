"""How many frames a second the page draws where no graphics card helps: in Chromium without a window, whose WebGL is software.

Run `make web`, then `python benchmarks/page_frames.py --out benchmarks/page_frames.json` on a quiet machine. A synthetic voice is
heard as a recording and through the microphone, in windows of several sizes. Prints a Markdown table; `--out` keeps it.
"""

import argparse
import contextlib
import functools
import shutil
import tempfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import psutil
import soundfile as sf
from playwright.sync_api import Page, sync_playwright

from facedistill.app.bench import machine
from facedistill.core import SAMPLE_RATE_HZ
from facedistill.core.files import write_json
from facedistill.repro.web import WEB
from facedistill.speech.espeak import Voice, synthesize

TEXT = "She sells sea shells by the sea shore, and puppies bark at boats. " * 8
WINDOWS = ((480, 640), (1280, 800), (1920, 1080))
SOURCES = ("recording", "microphone")
WARM_S, MEASURED_S = 5, 8
FLAGS = ("--no-sandbox", "--enable-unsafe-swiftshader", "--autoplay-policy=no-user-gesture-required")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# The face is drawn once in a frame that shows a new one, and every drawing begins with a clear canvas.
COUNTED = """
  window.pictures = 0;
  const clear = WebGL2RenderingContext.prototype.clear;
  WebGL2RenderingContext.prototype.clear = function (mask) { window.pictures++; clear.call(this, mask); };
"""


class Quiet(SimpleHTTPRequestHandler):
    """Serves without a log."""

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which a folder is served."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://localhost:{server.server_port}/"
        finally:
            server.shutdown()


def listen(page: Page, source: str, recording: Path) -> None:
    """Has the page hear the recording, and waits until the face moves."""
    if source == "recording":
        page.set_input_files("#file:enabled", recording)
        page.wait_for_function("() => !player.paused")
    else:
        page.click("#microphone:enabled")
        page.wait_for_function("() => late.textContent.endsWith('measured')")
    page.wait_for_timeout(1000 * WARM_S)


def processor_s() -> float:
    """Seconds of the processor that the browser, and what drives it, have taken."""
    times = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    return sum(time.user + time.system for time in times)


def measure(page: Page, source: str) -> dict[str, object]:
    """A row of the table, of a page that is animating."""
    state = "() => [performance.now() / 1000, window.pictures]"
    (first_s, first), before_s = page.evaluate(state), processor_s()
    page.wait_for_timeout(1000 * MEASURED_S)
    (last_s, last), after_s = page.evaluate(state), processor_s()
    picture = page.evaluate("() => `${stage.width} x ${stage.height}`")
    window = "{width} x {height}".format(**page.viewport_size)
    return {
        "source": source, "window, px": window, "picture, px": picture, "frames/s": round((last - first) / (last_s - first_s), 1),
        "ms of processor/frame": round(1000 * (after_s - before_s) / (last - first)),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, metavar="OUT.json")
    arguments = parser.parse_args()
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        parser.error(f"no browser; expected one of the commands {', '.join(BROWSERS)}")
    if not (WEB / "dist").is_dir():
        parser.error(f"{WEB / 'dist'}: no page; run `make web`")
    rows = []
    with tempfile.TemporaryDirectory() as folder, served(WEB / "dist") as address, sync_playwright() as driver:
        recording = Path(folder) / "speech.wav"
        sf.write(recording, synthesize(TEXT, Voice("en-us", "m1"))[0], SAMPLE_RATE_HZ)
        microphone = ("--use-fake-device-for-media-stream", f"--use-file-for-fake-audio-capture={recording}")
        for source in SOURCES:
            for width, height in WINDOWS:
                with driver.chromium.launch(executable_path=browser, args=[*FLAGS, *microphone]) as chromium:
                    page = chromium.new_page(viewport={"width": width, "height": height}, permissions=["microphone"])
                    page.add_init_script(COUNTED)
                    page.goto(address)
                    page.wait_for_selector("#stage.light")  # else a graphics card draws
                    listen(page, source, recording)
                    rows.append(measure(page, source))
    print(pd.DataFrame(rows).to_markdown(index=False))
    if arguments.out:
        write_json(arguments.out, {"machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()
