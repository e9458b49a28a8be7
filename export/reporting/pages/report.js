"use strict";
(() => {
  const root = document.documentElement;
  const all = (query, from = document) => Array.from(from.querySelectorAll(query));

  // Theme: the system decides until a reader does; what was chosen is kept where the browser keeps anything.
  const theme = document.querySelector("fieldset.theme");
  const KEY = "lorkit-theme";
  const apply = (name) => {
    if (name === "light" || name === "dark") root.dataset.theme = name;
    else delete root.dataset.theme;
  };
  let stored = "system";
  try { stored = localStorage.getItem(KEY) || "system"; } catch { /* a page opened from disk may have no storage */ }
  apply(stored);
  theme.hidden = false;
  for (const input of all("input", theme)) {
    input.checked = input.value === stored;
    input.addEventListener("change", () => {
      apply(input.value);
      try { localStorage.setItem(KEY, input.value); } catch { /* then it holds for this visit */ }
    });
  }
  if (!theme.querySelector("input:checked")) theme.querySelector("input").checked = true;

  // A link into something folded opens it, and moves the focus there.
  const reveal = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    if (target.hasAttribute("tabindex")) target.focus({ preventScroll: true });
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();

  // What a mark stands for, on hover and on focus; a screen reader has the same words as its label.
  const tip = document.getElementById("tip");
  const hide = () => { tip.hidden = true; };
  const show = (mark) => {
    tip.textContent = mark.dataset.tip;
    tip.hidden = false;
    const box = mark.getBoundingClientRect(), own = tip.getBoundingClientRect();
    const left = Math.min(Math.max(8, box.left + box.width / 2 - own.width / 2), innerWidth - own.width - 8);
    const above = box.top - own.height - 8;
    tip.style.left = `${left + scrollX}px`;
    tip.style.top = `${(above > 8 ? above : box.bottom + 8) + scrollY}px`;
  };
  for (const mark of all("[data-tip]")) {
    mark.querySelector("title")?.remove(); // else the browser shows a second tip
    mark.addEventListener("mouseenter", () => show(mark));
    mark.addEventListener("focus", () => show(mark));
    mark.addEventListener("mouseleave", hide);
    mark.addEventListener("blur", hide);
  }
  addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });

  // The legend of the training curves: one switch a region, for all panels.
  for (const bar of all(".switches")) {
    bar.hidden = false;
    for (const button of all("button", bar)) {
      button.addEventListener("click", () => {
        const on = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(on));
        for (const line of all(`[data-series="${button.dataset.toggle}"]`, bar.closest("section"))) {
          line.classList.toggle("off", !on);
        }
      });
    }
  }

  // Paper has nothing to unfold.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = all("details:not([open])");
    for (const one of opened) one.open = true;
  });
  addEventListener("afterprint", () => { for (const one of opened) one.open = false; });
})();
