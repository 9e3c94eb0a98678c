(() => {
  const by = (id) => document.getElementById(id);
  const grid = by("grid");
  const about = JSON.parse(grid.dataset.about);

  /* Pieces are scripts, which a page may load from a disk, too: each calls `piece`, once. */
  const loading = new Map();
  globalThis.piece = (kind, folder, number, rows) => {
    loading.get(`${folder}/${kind}-${number}.js`)?.resolve(rows);
  };
  const load = (kind, folder, number) => {
    const path = `${folder}/${kind}-${number}.js`;
    if (loading.has(path)) return loading.get(path).promise;
    const one = { came: false };
    one.promise = new Promise((resolve, reject) => {
      one.resolve = (rows) => { one.came = true; resolve(rows); };
      one.reject = reject;
    });
    loading.set(path, one);
    const script = document.createElement("script");
    script.onload = script.onerror = () => {
      script.remove();
      loading.delete(path);
      if (one.came) return;
      by("trouble").textContent = `${path} cannot be loaded: copy the whole folder again, or delete this file and write the page again.`;
      by("trouble").hidden = false;
      one.reject(new Error(path));
    };
    script.src = path;
    document.head.append(script);
    return one.promise;
  };

  /* The pieces used last are kept, so that memory stays bounded. */
  const MOST = { thumbs: 96, details: 6 };
  const caches = { thumbs: new Map(), details: new Map() };
  const row = (kind, split, index) => {
    const cache = caches[kind], count = about.pieces[kind];
    const number = Math.floor(index / count), key = `${split}/${number}`;
    let found = cache.get(key);
    cache.delete(key);
    if (!found) {
      found = load(kind, about.splits[split].folder, number);
      found.catch(() => cache.delete(key));
    }
    cache.set(key, found);
    if (cache.size > MOST[kind]) cache.delete(cache.keys().next().value);
    return found.then((rows) => rows[index % count]);
  };

  /* The index: all of it is read, the first piece first. */
  const NAME = 0, FOLDER = 1, LABEL = 2, WANTED = 3, SIZE = 4, SHARE = 5, INSIDE = 6, WIDTH = 7, HEIGHT = 8, SPLIT = 9, INDEX = 10;
  const images = [];
  const total = about.splits.reduce((sum, split) => sum + split.count, 0);
  let indexed = 0;
  const readIndex = async () => {
    const pieces = about.splits.flatMap((split, place) =>
      Array.from({ length: Math.ceil(split.count / about.pieces.index) }, (_, number) => [place, number]));
    const starts = about.splits.map((_, place) => about.splits.slice(0, place).reduce((sum, split) => sum + split.count, 0));
    const one = async ([place, number]) => {
      const rows = await load("index", about.splits[place].folder, number);
      rows.forEach((own, at) => {
        const index = number * about.pieces.index + at;
        own.push(place, index);
        images[starts[place] + index] = own;
      });
      indexed += rows.length;
      later(filter);
    };
    if (pieces.length) await one(pieces.shift());
    const work = async () => { while (pieces.length) await one(pieces.shift()); };
    await Promise.all(Array.from({ length: 6 }, work));
  };

  /* What is asked for. */
  const texts = (classes) => classes.map((words) => words.join(" ").toLowerCase());
  const classTexts = ["", ...texts(about.classes)], labelTexts = texts(about.labels);
  const className = (id) => (id ? about.classes[id - 1][1] : "none of the tier");
  const asked = (id) => by(id).value.toLowerCase().split(/\s+/).filter(Boolean);
  const matching = (all, words) => all.map((text) => words.every((word) => text.includes(word)));
  const differs = (own) => own[LABEL] >= 0 && own[WANTED] !== own[FOLDER];
  let found = [];
  const filter = () => {
    const words = asked("class"), label = asked("label"), size = by("size").value;
    const split = by("split")?.value, inside = by("inside").checked, differ = by("differ").checked;
    const ofClass = matching(classTexts, words), ofLabel = matching(labelTexts, label);
    const isOf = (own) => (inside ? own[INSIDE].some((id) => ofClass[id])
      : ofClass[own[FOLDER]] || words.every((word) => own[NAME].toLowerCase().includes(word)));
    const kept = current ? found[current] : -1;  /* pieces come in any order: the place moves, the image not */
    found = [];
    images.forEach((own, at) => {
      if (split && about.splits[own[SPLIT]].name !== split) return;
      if (words.length && !isOf(own)) return;
      if (label.length && !(own[LABEL] >= 0 && ofLabel[own[LABEL]])) return;
      if (size && own[SIZE] !== size) return;
      if (differ && !differs(own)) return;
      found.push(at);
    });
    const count = found.length.toLocaleString("en");
    by("count").textContent = indexed < total
      ? `${count} found, reading ${indexed.toLocaleString("en")} of ${total.toLocaleString("en")}`
      : `${count} of ${total.toLocaleString("en")}`;
    current = kept < 0 ? 0 : Math.max(found.indexOf(kept), Math.min(current, found.length - 1), 0);
    neighbours();
    draw();
  };

  /* The grid: only the cells near the window are there. */
  const WIDE = 152, LINE = 182, GAP = 8;
  const LINES = Math.floor(16e6 / LINE);  /* browsers cut pages off: Firefox at 17.9 million pixels, Chromium at 33.5 */
  const cells = new Map();
  let columns = 1, reach = 0, current = 0, first = true;
  const cell = (place, at) => {
    const own = images[at], button = document.createElement("button");
    const picture = document.createElement("img"), words = document.createElement("span");
    button.type = "button";
    button.className = differs(own) ? "cell differs" : "cell";
    button.dataset.place = place;
    button.dataset.at = at;
    words.textContent = own[FOLDER] ? className(own[FOLDER]) : own[NAME].split("/")[0];
    picture.alt = "";
    picture.decoding = "sync";
    const label = differs(own) ? `, label ${about.labels[own[LABEL]][1]}` : "";
    button.setAttribute("aria-label", `${place + 1} of ${found.length}: ${words.textContent}${label}, ${own[NAME]}`);
    button.append(picture, words);
    row("thumbs", own[SPLIT], own[INDEX]).then(([data]) => {
      picture.src = `data:image/jpeg;base64,${data}`;
      if (first) {
        first = false;
        picture.decode().then(() => performance.mark("first picture"), () => {});
      }
    }, () => {});
    return button;
  };
  const draw = () => {
    const width = grid.clientWidth;
    columns = Math.max(1, Math.floor((width + GAP) / (WIDE + GAP)));
    const step = (width + GAP) / columns;
    reach = Math.min(found.length, LINES * columns);
    grid.style.height = `${Math.ceil(reach / columns) * LINE}px`;
    by("beyond").hidden = reach === found.length;
    by("beyond").textContent = `Only the first ${reach.toLocaleString("en")} can be scrolled to: filter for the others.`;
    const top = -grid.getBoundingClientRect().top;
    const from = Math.max(0, Math.floor((top - innerHeight) / LINE)) * columns;
    const to = Math.min(reach, Math.ceil((top + 2 * innerHeight) / LINE) * columns);
    for (const [place, button] of cells) {
      const gone = place < from || place >= to || Number(button.dataset.at) !== found[place];
      if (gone) { button.remove(); cells.delete(place); }
    }
    const seen = Math.max(0, Math.floor(top / LINE)) * columns;  /* what is seen is loaded first */
    const order = Array.from({ length: Math.max(0, to - from) }, (_, i) => from + i);
    for (const place of [...order.filter((place) => place >= seen), ...order.filter((place) => place < seen)]) {
      let button = cells.get(place);
      if (!button) {
        button = cell(place, found[place]);
        cells.set(place, button);
        grid.append(button);
      }
      button.tabIndex = place === current ? 0 : -1;
      button.style.left = `${(place % columns) * step}px`;
      button.style.top = `${Math.floor(place / columns) * LINE}px`;
      button.style.width = `${step - GAP}px`;
      button.style.height = `${LINE - GAP}px`;
    }
    if (!cells.has(current) && cells.size) cells.get(Math.max(from, Math.min(seen, to - 1))).tabIndex = 0;
  };
  const planned = new Set();
  function later(what) {
    if (planned.has(what)) return;
    planned.add(what);
    requestAnimationFrame(() => { planned.delete(what); what(); });
  }
  const go = (place) => {
    current = Math.max(0, Math.min(reach - 1, place));
    const line = Math.floor(current / columns) * LINE, bar = document.querySelector(".controls").offsetHeight;
    const top = grid.getBoundingClientRect().top + scrollY + line;
    if (top - bar < scrollY) scrollTo(0, top - bar - GAP);
    else if (top + LINE > scrollY + innerHeight) scrollTo(0, top + LINE - innerHeight);
    draw();
    cells.get(current)?.focus({ preventScroll: true });
  };
  addEventListener("scroll", () => later(draw), { passive: true });
  addEventListener("resize", () => later(draw));
  grid.addEventListener("focusin", (event) => {
    current = Number(event.target.closest(".cell").dataset.place);
    later(draw);
  });
  grid.addEventListener("keydown", (event) => {
    const screen = Math.max(1, Math.floor(innerHeight / LINE) - 1) * columns;
    const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, PageUp: -screen, PageDown: screen, Home: -Infinity, End: Infinity };
    if (!(event.key in moves) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    go(current + moves[event.key]);
  });

  /* One image: the photograph, its mask or its target laid over it. */
  const dialog = by("one"), canvas = by("picture"), tip = by("tip");
  let mode = "mask", shown = -1, turn = 0, drawn = null;  /* shown: the image's number in all, whatever is found now */
  const picture = async (kind, data) => {
    const image = new Image();
    image.src = `data:image/${kind};base64,${data}`;
    await image.decode();
    return image;
  };
  const read = (image) => {
    const hidden = document.createElement("canvas");
    hidden.width = image.naturalWidth;
    hidden.height = image.naturalHeight;
    const pen = hidden.getContext("2d", { willReadFrequently: true });
    pen.drawImage(image, 0, 0);
    const { data } = pen.getImageData(0, 0, hidden.width, hidden.height);
    return Uint16Array.from({ length: data.length / 4 }, (_, i) => data[4 * i] + 256 * data[4 * i + 1]);
  };
  const rgb = (id) => {
    const text = id === about.ignored ? "#ffffff" : about.colours[id] ?? "#808080";
    return [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
  };
  const TARGET = { object: [255, 176, 0, 150], ignored: [255, 255, 255, 150], other: [0, 0, 0, 150] };
  const colour = (id, wanted) => {
    if (mode === "mask") return id ? [...rgb(id), 153] : [0, 0, 0, 0];
    if (id === about.ignored) return TARGET.ignored;
    return wanted && id === wanted ? TARGET.object : TARGET.other;
  };
  const paint = () => {
    const { own, photo, ids } = drawn;
    canvas.width = photo.naturalWidth;
    canvas.height = photo.naturalHeight;
    const pen = canvas.getContext("2d");
    pen.drawImage(photo, 0, 0);
    for (const button of dialog.querySelectorAll("[data-mode]")) {
      button.disabled = button.dataset.mode !== "photo" && !ids;
      button.setAttribute("aria-pressed", String(button.dataset.mode === (ids ? mode : "photo")));
    }
    if (!ids || mode === "photo") return;
    const layer = new ImageData(canvas.width, canvas.height), colours = new Map();
    ids.forEach((id, at) => {
      if (!colours.has(id)) colours.set(id, colour(id, own[WANTED]));
      layer.data.set(colours.get(id), 4 * at);
    });
    const over = document.createElement("canvas");
    over.width = canvas.width;
    over.height = canvas.height;
    over.getContext("2d").putImageData(layer, 0, 0);
    pen.drawImage(over, 0, 0);
  };
  const told = (id) => (id === about.ignored ? "ignored" : id ? className(id) : "other");
  const describe = (own) => {
    const split = about.splits[own[SPLIT]];
    by("one-name").textContent = own[NAME];
    by("one-says").textContent = differs(own) ? "Label and folder class differ." : "";
    const facts = [["Split", split.name], ["Folder class", own[FOLDER] ? `${own[FOLDER]} ${className(own[FOLDER])}` : "none of the tier"]];
    if (own[LABEL] >= 0) facts.push(["Label", `${own[LABEL]} ${about.labels[own[LABEL]][1]}`]);
    if (split.masks) facts.push(["Object", own[SIZE] === "absent" ? "not in the mask" : `${own[SHARE]} % of the image (${own[SIZE]})`]);
    facts.push(["Size", `${own[WIDTH]} × ${own[HEIGHT]} pixels`]);
    by("facts").replaceChildren(...facts.flatMap(([name, value]) => {
      const dt = document.createElement("dt"), dd = document.createElement("dd");
      dt.textContent = name;
      dd.textContent = value;
      return [dt, dd];
    }));
    by("key").replaceChildren(...own[INSIDE].map((id) => {
      const item = document.createElement("li"), ns = "http://www.w3.org/2000/svg";
      const svg = document.createElementNS(ns, "svg"), square = document.createElementNS(ns, "rect");
      svg.setAttribute("viewBox", "0 0 10 10");
      svg.setAttribute("aria-hidden", "true");
      for (const side of ["width", "height"]) square.setAttribute(side, "10");
      square.setAttribute("fill", `rgb(${rgb(id).join(",")})`);
      svg.append(square);
      item.append(svg, className(id));
      return item;
    }));
  };
  function neighbours() {
    const place = found.indexOf(shown);
    by("before").disabled = place <= 0;
    by("after").disabled = place < 0 || place === found.length - 1;
  }
  const show = async (at) => {
    const own = images[at], mine = ++turn;
    shown = at;
    drawn = null;
    canvas.width = canvas.width;  /* no picture beside the words of another */
    tip.hidden = true;
    neighbours();
    describe(own);
    if (!dialog.open) dialog.showModal();
    try {
      const [large, mask] = await row("details", own[SPLIT], own[INDEX]);
      const [image, under] = await Promise.all([picture("jpeg", large), mask ? picture("png", mask) : null]);
      if (mine !== turn) return;
      drawn = { own, photo: image, ids: under && read(under) };
      paint();
    } catch (error) { if (mine === turn && dialog.open) dialog.close(); }
  };
  const step = (by) => {
    const place = found.indexOf(shown), at = place < 0 ? undefined : found[place + by];
    if (at !== undefined) show(at);
  };
  const choose = (wanted) => { mode = wanted; if (drawn) paint(); };
  grid.addEventListener("click", (event) => {
    const button = event.target.closest(".cell");
    if (button) show(Number(button.dataset.at));
  });
  dialog.addEventListener("close", () => { turn++; drawn = null; go(Math.max(0, found.indexOf(shown))); });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  by("close").addEventListener("click", () => dialog.close());
  by("before").addEventListener("click", () => step(-1));
  by("after").addEventListener("click", () => step(1));
  for (const button of dialog.querySelectorAll("[data-mode]")) button.addEventListener("click", () => choose(button.dataset.mode));
  dialog.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "ArrowRight") step(1);
    else {
      const wanted = { p: "photo", m: "mask", t: "target" }[event.key.toLowerCase()];
      if (wanted) choose(wanted);
    }
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!drawn?.ids) return;
    const box = canvas.getBoundingClientRect(), scale = Math.min(box.width / canvas.width, box.height / canvas.height);
    const x = Math.floor((event.clientX - box.left - (box.width - canvas.width * scale) / 2) / scale);
    const y = Math.floor((event.clientY - box.top - (box.height - canvas.height * scale) / 2) / scale);
    tip.hidden = x < 0 || y < 0 || x >= canvas.width || y >= canvas.height;
    if (tip.hidden) return;
    tip.textContent = told(drawn.ids[y * canvas.width + x]);
    tip.style.left = `${event.clientX + 14}px`;
    tip.style.top = `${event.clientY + 16}px`;
  });
  canvas.addEventListener("pointerleave", () => { tip.hidden = true; });

  /* The filters. */
  const changed = () => {
    current = 0;
    const start = grid.getBoundingClientRect().top + scrollY - document.querySelector(".controls").offsetHeight - GAP;
    if (scrollY > start) scrollTo(0, start);
    later(filter);
  };
  const inputs = document.querySelectorAll(".controls input, .controls select");
  for (const input of inputs) input.addEventListener("input", changed);
  by("reset").addEventListener("click", () => {
    for (const input of inputs) { input.value = input.type === "checkbox" ? input.value : ""; input.checked = false; }
    changed();
  });
  addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT)$/.test(event.target.tagName);
    if (event.key !== "/" || typing || dialog.open) return;
    event.preventDefault();
    by("class").focus();
  });
  readIndex().catch(() => {});  /* what is missing has been told */
})();
