// The state of the page in its address, so that a reload, "back" and a sent link show it.
const CALM = 300; // Milliseconds; browsers refuse to change the address more often.

let waiting = 0, last = 0;

export const readAddress = () => Object.fromEntries(new URLSearchParams(location.hash.slice(1)));

// values: text by key; empty ones are left out. `isStep`: whether "back" returns to the state before.
export function writeAddress(values, isStep = false) {
  const hash = `#${new URLSearchParams(Object.entries(values).filter(([, value]) => value))}`;
  const write = () => {
    if (hash === (location.hash || "#")) return;
    last = performance.now();
    // A page in a frame of a notebook has no address of its own.
    try { history[isStep ? "pushState" : "replaceState"](null, "", hash); } catch { /* It stays as it is. */ }
  };
  clearTimeout(waiting);
  if (isStep || performance.now() - last > CALM) write();
  else waiting = setTimeout(write, CALM);
}

export const onAddress = (change) => window.addEventListener("popstate", () => { clearTimeout(waiting); change(readAddress()); });
