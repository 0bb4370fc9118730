"use strict";
// The page works without this: it marks the chosen cell, closes an explanation by Escape, and lets decisions arrive.
(() => {
  const chosen = () => {
    const hash = location.hash.slice(1);
    document.querySelectorAll("td.chosen").forEach((cell) => cell.classList.remove("chosen"));
    if (!hash.startsWith("why-")) return;
    const why = document.getElementById(hash);
    const cell = document.getElementById("cell-" + hash.slice(4));
    if (!why || !cell) return;
    cell.classList.add("chosen");
    why.focus({ preventScroll: true });
  };
  addEventListener("hashchange", chosen);
  chosen();
  addEventListener("keydown", (event) => {
    const open = location.hash.startsWith("#why-") && document.querySelector(".why:target .close");
    if (event.key === "Escape" && open) {
      const link = document.querySelector(open.getAttribute("href") + " a");
      open.click();
      if (link) link.focus();
    }
  });
  const live = document.querySelector("[data-live]");
  if (!live || !window.EventSource) return;
  const state = document.getElementById("live-state");
  let source = null;
  const follow = () => {
    // A page that nobody looks at holds no connection: a browser has six for each server.
    if (document.hidden) {
      if (source) source.close();
      source = null;
    } else if (!source) {
      source = new EventSource(live.dataset.live);
      source.onopen = () => { state.textContent = "New ones appear by themselves."; };
      source.onerror = () => { state.textContent = "The connection is lost; the page tries again."; };
      source.addEventListener("missed", () => { state.textContent = "Some were missed: reload the page."; });
      source.onmessage = add;
    }
  };
  const add = (event) => {
    // After a lost connection the last ones may come again.
    if (document.getElementById("decision-" + event.lastEventId)) return;
    // Made by the server, which escapes what is in it.
    live.insertAdjacentHTML("afterbegin", event.data);
    while (live.rows.length > 200) live.deleteRow(-1);
  };
  document.addEventListener("visibilitychange", follow);
  follow();
})();
