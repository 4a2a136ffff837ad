"use strict";
document.documentElement.classList.add("scripted");
addEventListener("DOMContentLoaded", () => {
  const filters = document.getElementById("filters");
  const nothing = document.getElementById("nothing");
  const boards = [...document.querySelectorAll("section.board")];
  const models = (board) => [...board.querySelectorAll("tbody[id]")];
  const lines = new Map([...document.querySelectorAll("path[data-model]")].map((path) => [path.dataset.model, path]));
  const texts = new Map(boards.flatMap(models).map((model) => [
    model.id,
    `${model.querySelector(".summary").textContent} ${model.dataset.search}`.toLowerCase(),
  ]));
  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

  const sort = (board, heading) => {
    const key = heading.dataset.key;
    const text = key === "name";
    const first = text || key === "rank" ? "ascending" : "descending";
    const second = first === "ascending" ? "descending" : "ascending";
    const order = heading.getAttribute("aria-sort") === first ? second : first;
    const sign = order === "ascending" ? 1 : -1;
    const compare = (a, b) => {
      const [left, right] = [a.dataset[key], b.dataset[key]];
      if (left === "" || right === "") return (left === "") - (right === "");
      return sign * (text ? collator.compare(left, right) : left - right);
    };
    for (const other of board.querySelectorAll("th[data-key]")) other.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", order);
    heading.closest("table").append(...models(board).sort(compare));
  };

  const toggle = (model) => {
    const open = model.classList.toggle("open");
    model.querySelector("button.unfold").setAttribute("aria-expanded", String(open));
  };

  const filter = () => {
    const { dataset, threat, search } = Object.fromEntries(new FormData(filters));
    const words = search.toLowerCase().split(/\s+/).filter(Boolean);
    let [shown, all] = [0, 0];
    for (const board of boards) {
      const wanted = (!dataset || board.dataset.dataset === dataset) && (!threat || board.dataset.threat === threat);
      let any = false;
      for (const model of models(board)) {
        model.hidden = !(wanted && words.every((word) => texts.get(model.id).includes(word)));
        lines.get(model.id)?.toggleAttribute("hidden", model.hidden);
        any ||= !model.hidden;
        shown += !model.hidden;
        all += 1;
      }
      board.hidden = !any;
    }
    const count = shown === all ? `${all}` : `${shown} of ${all}`;
    filters.elements.count.value = `${count} ${all === 1 ? "model" : "models"}`;
    nothing.hidden = shown > 0;
  };

  for (const board of boards) {
    for (const heading of board.querySelectorAll("th[data-key]"))
      heading.querySelector("button").addEventListener("click", () => sort(board, heading));
    for (const model of models(board)) {
      model.querySelector(".summary").addEventListener("click", (event) => {
        if (event.target.closest("button.unfold") || getSelection().isCollapsed) toggle(model);
      });
      const light = (on) => lines.get(model.id)?.classList.toggle("lit", on);
      model.addEventListener("pointerenter", () => light(true));
      model.addEventListener("pointerleave", () => light(false));
      model.addEventListener("focusin", () => light(true));
      model.addEventListener("focusout", () => light(false));
    }
  }
  filters.addEventListener("input", filter);
  filters.addEventListener("submit", (event) => event.preventDefault());
  filter();
});
