"use strict";
(() => {
  const page = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  for (const one of all(".filter, .hint, #theme")) one.hidden = false;

  /* Dark and light: the system's choice until the reader makes one, which is kept if it may be. */
  const KEY = "imagenets-theme";
  const system = matchMedia("(prefers-color-scheme: dark)");
  const shown = () => page.dataset.theme || (system.matches ? "dark" : "light");
  const kept = () => { try { return localStorage.getItem(KEY); } catch { return null; } };
  const name = () => {
    document.getElementById("theme-name").textContent = shown() === "dark" ? "Light" : "Dark";
  };
  if (["dark", "light"].includes(kept())) page.dataset.theme = kept();
  system.addEventListener("change", name);
  document.getElementById("theme").addEventListener("click", () => {
    page.dataset.theme = shown() === "dark" ? "light" : "dark";
    try { localStorage.setItem(KEY, page.dataset.theme); } catch { /* it is forgotten, then */ }
    name();
  });
  name();

  /* Tables are sorted by a click on a heading: numbers largest first, words from A. */
  const value = (row, column, isNumber) => {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim();
    if (!isNumber) return text.toLowerCase();
    const number = text === "" ? NaN : Number(text);
    return Number.isNaN(number) ? -Infinity : number;
  };
  const words = new Intl.Collator();
  const sort = (head) => {
    const table = head.closest("table"), body = table.tBodies[0];
    const isNumber = head.dataset.kind === "number";
    const before = head.getAttribute("aria-sort");
    const first = isNumber ? "descending" : "ascending";
    const other = isNumber ? "ascending" : "descending";
    const order = before === first ? other : first;
    const sign = order === "ascending" ? 1 : -1;
    const keyed = [...body.rows].map((row) => [value(row, head.cellIndex, isNumber), row]);
    keyed.sort(([a], [b]) => sign * (isNumber ? (a > b) - (a < b) : words.compare(a, b)));
    body.append(...keyed.map(([, row]) => row));
    for (const one of all("th[aria-sort]", table)) one.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", order);
  };
  for (const head of all("table.sortable th[aria-sort]")) {
    head.querySelector("button").addEventListener("click", () => sort(head));
  }

  /* Rows are filtered by words: all of them must occur. */
  for (const input of all("input[data-filters]")) {
    const rows = [...document.getElementById(input.dataset.filters).children];
    const said = input.parentElement.querySelector("output");
    const words = rows.map((row) => row.dataset.words.toLowerCase());
    input.addEventListener("input", () => {
      const wanted = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      rows.forEach((row, place) => {
        row.hidden = !wanted.every((word) => words[place].includes(word));
        count += row.hidden ? 0 : 1;
      });
      said.textContent = `${count} of ${rows.length}`;
    });
  }

  /* Charts are read off by the pointer or the arrow keys. */
  for (const chart of all("svg[data-values]")) {
    const series = JSON.parse(chart.dataset.values);
    const [left, right, from, to] = ["left", "right", "from", "to"].map((key) => Number(chart.dataset[key]));
    const places = [...new Set(series.flatMap((one) => one.points.map(([x]) => x)))].sort((a, b) => a - b);
    const cursor = chart.querySelector(".cursor");
    const said = chart.parentElement.querySelector(".reading");
    let at = -1;
    const read = (place) => {
      at = Math.max(0, Math.min(places.length - 1, place));
      const x = places[at];
      const line = left + ((x - from) / (to - from)) * (right - left);
      cursor.setAttribute("x1", line);
      cursor.setAttribute("x2", line);
      const values = series.flatMap((one) => {
        const point = one.points.find(([own]) => own === x);
        return point ? [`${one.name} ${point[1]}`] : [];
      });
      said.textContent = `${chart.dataset.x} ${x}: ${values.join(", ")}`;
    };
    const nearest = (x) => places.reduce((best, own, place) => Math.abs(own - x) < Math.abs(places[best] - x) ? place : best, 0);
    chart.addEventListener("pointermove", (event) => {
      const box = chart.getBoundingClientRect();
      const unit = ((event.clientX - box.left) / box.width) * chart.viewBox.baseVal.width;
      read(nearest(from + ((unit - left) / (right - left)) * (to - from)));
    });
    chart.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: places.length - 1 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      read(step);
    });
    chart.addEventListener("focus", () => { if (at < 0) read(places.length - 1); });
  }

  /* The colour of a mask below the pointer is named. */
  const tip = document.getElementById("tip");
  const canvas = document.createElement("canvas");
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  let drawn = null;
  const pixel = (image, event) => {
    if (drawn !== image) {
      canvas.width = image.naturalWidth;
      canvas.height = image.naturalHeight;
      pen.drawImage(image, 0, 0);
      drawn = image;
    }
    const box = image.getBoundingClientRect();
    const share = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    const x = Math.min(canvas.width - 1, Math.max(0, Math.floor(share[0] * canvas.width)));
    const y = Math.min(canvas.height - 1, Math.max(0, Math.floor(share[1] * canvas.height)));
    return pen.getImageData(x, y, 1, 1).data;
  };
  const tell = (text, x, y) => {
    tip.textContent = text;
    tip.hidden = false;
    tip.style.left = `${Math.min(x + 14, innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${Math.min(y + 16, innerHeight - tip.offsetHeight - 8)}px`;
  };
  for (const card of all(".card[data-legend]")) {
    const names = JSON.parse(card.dataset.legend), colours = JSON.parse(card.dataset.colours);
    for (const image of all("img.mask", card)) {
      image.addEventListener("pointermove", (event) => {
        if (!image.complete || !image.naturalWidth) return;
        const rgb = pixel(image, event);
        const place = colours.findIndex((own) => own.every((part, i) => part === rgb[i]));
        tell(place < 0 ? "?" : names[place], event.clientX, event.clientY);
      });
      image.addEventListener("focus", () => {
        const box = image.getBoundingClientRect();
        tell(names.join(", "), box.left, box.bottom - 10);
      });
      for (const ends of ["pointerleave", "blur"]) image.addEventListener(ends, () => { tip.hidden = true; });
    }
  }
})();
