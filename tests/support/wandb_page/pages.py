"""W&B's page of a table, in headless Chromium."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from browser import Browser, browser
from wandb_page.environment import python
from wandb_page.reading import weave_environment

SERVER = Path(__file__).parent / "server.py"
NOWHERE_ELSE = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"
SECONDS = 120  # The longest wait until a table is drawn.
STILL = 2.0  # Seconds without a change after which the table counts as drawn.

_WATCH = """
window.asked = 0;
const plain = window.fetch;
window.fetch = (...request) => {
  window.asked += 1;
  return plain(...request).finally(() => window.asked -= 1);
};
"""
_STATE = """
const images = [...document.images];
const broken = images.filter((i) => i.complete && !i.naturalWidth);
const loaders = [...document.querySelectorAll('.ui.loader')];
const busy = window.asked || images.some((i) => !i.complete)
  || loaders.some((loader) => loader.getClientRects().length);
return [!busy && images.length > 0, broken.length, document.body.innerText];
"""
_LARGE_ROWS = """
const button = document.querySelectorAll('button.night-aware.h-24.w-24')[2];
button.click();
for (const type of ['mouseout', 'pointerout'])  // Its tooltip would cover a row.
  button.dispatchEvent(new MouseEvent(type, {bubbles: true}));
for (const e of document.querySelectorAll('body div'))
  if (e.innerText.trim() === 'Get help or share feedback') e.style.display = 'none';
"""


class NotDrawnError(RuntimeError):
    """The page shows no table with images."""


class Pages:
    """The pages of the tables of a loopback server."""

    def __init__(self, address: str, opened: Browser) -> None:
        self._address = address
        self._opened = opened

    def shoot(
        self, expression: str, width: int, height: int, large: bool = False
    ) -> NDArray[np.uint8]:
        """Takes a picture of a table with images.

        Args:
            expression: W&B's expression for its rows.
            width: The width of the page, in pixels.
            height: The height of the page, in pixels.
            large: Whether rows are large, instead of their initial height.

        Returns:
            The picture, of shape `(height, width, 3)`, RGB.

        Raises:
            NotDrawnError: There is no image, or one of them does not load.
        """
        url = f"{self._address}/?exp={quote(expression, safe='')}"
        self._opened.open(url, width, height)
        self._wait()
        if large:
            self._opened.run(_LARGE_ROWS)
            self._wait()
        return self._opened.window()

    def _wait(self) -> None:
        """Waits until the page sends no requests, and does not change for a while."""
        end = time.monotonic() + SECONDS
        seen, since = None, time.monotonic()
        while time.monotonic() < end:
            ready, broken, text = self._opened.run(_STATE)
            if not ready or text != seen:
                seen, since = text, time.monotonic()
            elif time.monotonic() - since > STILL:
                if broken:
                    raise NotDrawnError(f"{broken} images do not load")
                return
            time.sleep(0.2)
        raise NotDrawnError(f"in {SECONDS} s. The page says: {seen}")


@contextlib.contextmanager
def pages(url: str, home: Path) -> Iterator[Pages]:
    """W&B's pages of the tables on a loopback server.

    Args:
        url: The address of the server.
        home: A folder for the downloads of weave.

    Raises:
        NotInstalledError: The page can't be installed.
    """
    process = subprocess.Popen(
        [python(), "-I", str(SERVER)],
        env=weave_environment(url, home),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=(home / "weave.log").open("w"),
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        lines = iter(process.stdout)
        address = next(line.strip() for line in lines if line.startswith("http://"))
        with browser(NOWHERE_ELSE) as opened:
            new = {"source": _WATCH}
            opened.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", new)
            yield Pages(address, opened)
    finally:
        process.stdin.close()
        process.terminate()
        process.wait()
