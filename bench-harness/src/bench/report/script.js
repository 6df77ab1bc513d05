"use strict";
// What a pointer is over, told at once; without this the page's own titles tell it after a while.
(() => {
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.hidden = true;
  document.body.append(tip);
  document.querySelectorAll(".hit").forEach((area) => {
    const title = area.querySelector("title");
    area.dataset.tip = title.textContent;
    title.remove();
  });
  document.addEventListener("pointermove", (event) => {
    const area = event.target.closest ? event.target.closest(".hit") : null;
    tip.hidden = !area;
    if (!area) return;
    tip.textContent = area.dataset.tip;
    const room = window.innerWidth - tip.offsetWidth - 8;
    tip.style.left = Math.max(8, Math.min(event.clientX + 14, room)) + "px";
    tip.style.top = Math.max(8, event.clientY - tip.offsetHeight - 14) + "px";
  });
})();
