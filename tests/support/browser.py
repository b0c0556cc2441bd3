"""Headless Chromium, driven by Selenium."""

import contextlib
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

CHROMIUM = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")

_ARGUMENTS = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage"]
_ARGUMENTS += ["--hide-scrollbars", "--force-device-scale-factor=1"]


class Browser:
    """A browser with one tab."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(  # noqa: PLR0917
        self,
        page: Path | str,
        width: int = 1024,
        height: int = 900,
        dark: bool = False,
        scripts: bool = True,
        state: str = "",
    ) -> None:
        """Opens a file, or an address, in a window of that size.

        `state` is behind the `#`.
        """
        tell = self.driver.execute_cdp_cmd
        size = {"width": width, "height": height, "deviceScaleFactor": 1}
        tell("Emulation.setDeviceMetricsOverride", size | {"mobile": width < 500})
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        tell("Emulation.setEmulatedMedia", {"features": [scheme, still]})
        tell("Emulation.setScriptExecutionDisabled", {"value": not scripts})
        self.errors()
        self.driver.get("about:blank")  # Another state alone would not load the page.
        self.requests()
        address = page if isinstance(page, str) else page.as_uri()
        self.driver.get(address + (f"#{state}" if state else ""))
        # Otherwise, the end of loading the blank page could be mistaken for this one's.
        is_there = "return document.readyState === 'complete' && location.href"
        WebDriverWait(self.driver, 60).until(
            lambda driver: (driver.execute_script(is_there) or "").startswith(address)
        )
        if scripts:
            self._wait_for_frames()

    def wait_for_address(self) -> None:
        """Waits for the timer after which a report writes its state into the address.

        Timers of one length end in the order in which they begin, so this one ends
        after that of the page, however long it takes.
        """
        self.driver.execute_async_script("setTimeout(arguments[0], 300)")

    def reload(self) -> None:
        """Reloads the page, after it has written its state."""
        self.wait_for_address()
        self.driver.refresh()
        self._wait_for_frames()

    def _wait_for_frames(self) -> None:
        """Waits for two frames: observers of sizes are called in the first one."""
        self.driver.execute_async_script(
            "requestAnimationFrame(() => requestAnimationFrame(arguments[0]))"
        )

    def run(self, script: str, *arguments: Any) -> Any:
        """Runs a script and returns its result."""
        return self.driver.execute_script(script, *arguments)

    def all(self, selector: str) -> list[WebElement]:
        """The elements of a CSS selector."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        """The first element of a CSS selector."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        """The text of each element, even if it is not visible."""
        script = "return [...document.querySelectorAll(arguments[0])].map("
        texts = self.run(f"{script}(one) => one.textContent)", selector)
        return [str(one) for one in texts]

    def click(self, selector: str) -> None:
        """Clicks the first element of a selector."""
        element = self.one(selector)
        self.run(
            "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})",
            element,
        )
        element.click()

    def press(self, *keys: str) -> None:
        """Presses keys in the element that has the focus."""
        for key in keys:
            ActionChains(self.driver).send_keys(getattr(Keys, key, key)).perform()

    def choose(self, selector: str, value: str) -> None:
        """Sets the value of a field, as typing, dragging or choosing would."""
        self.run(
            "const [field, value] = arguments; field.value = value;"
            "for (const type of ['input', 'change'])"
            "  field.dispatchEvent(new Event(type, {bubbles: true}));",
            self.one(selector),
            value,
        )

    def pixels(self, element: WebElement) -> NDArray[np.uint8]:
        """The visible pixels of an element: RGB, of shape `(height, width, 3)`."""
        self.wait_for_media(element)
        with PIL.Image.open(io.BytesIO(element.screenshot_as_png)) as image:
            return np.asarray(image.convert("RGB"))

    def window(self) -> NDArray[np.uint8]:
        """The visible pixels of the page: RGB, of shape `(height, width, 3)`."""
        self.wait_for_media(self.one("html"))
        content = self.driver.get_screenshot_as_png()
        with PIL.Image.open(io.BytesIO(content)) as image:
            return np.asarray(image.convert("RGB"))

    def wait_for_media(self, element: WebElement) -> None:
        """Waits until the images in an element are decoded, and drawn."""
        self.driver.execute_async_script(
            "const done = arguments[arguments.length - 1];"
            "const images = [...arguments[0].querySelectorAll('img')];"
            "Promise.all(images.map((image) => image.decode())).then(() =>"
            "  requestAnimationFrame(() => requestAnimationFrame(() => done())));",
            element,
        )

    def errors(self) -> list[str]:
        """The errors in the console since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """The requests since the last call, except for `data:` URLs."""
        events = (
            json.loads(entry["message"])["message"]
            for entry in self.driver.get_log("performance")
        )
        urls = (
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        )
        return [url for url in urls if not url.startswith("data:")]


@contextlib.contextmanager
def browser(*arguments: str) -> Iterator[Browser]:
    """A browser that is closed at the end; Chromium gets the arguments, too."""
    options = Options()
    options.binary_location = str(CHROMIUM)
    for argument in (*_ARGUMENTS, *arguments):
        options.add_argument(argument)
    logs = {"browser": "ALL", "performance": "ALL"}
    options.set_capability("goog:loggingPrefs", logs)
    driver = webdriver.Chrome(options, Service(DRIVER))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
