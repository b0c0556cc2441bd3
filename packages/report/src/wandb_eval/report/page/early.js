// Hides the table that needs no script as soon as scripts run, and shows it again if the
// page's own code fails, or is not there because the file was cut off.
(() => {
  const root = document.documentElement;
  let state = "", kept = null;
  const fail = () => {
    if (state === "booted") return;
    root.classList.remove("scripted");
    if (kept && !kept.isConnected) document.body.replaceChildren(kept);
  };
  root.classList.add("scripted");
  root.addEventListener("booting", () => { state = "booting"; kept = document.getElementById("static"); });
  root.addEventListener("booted", () => { state = "booted"; });
  window.addEventListener("error", () => { if (state === "booting") fail(); });
  window.addEventListener("load", fail);
})();
