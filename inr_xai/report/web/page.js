"use strict";

// The page of one or more runs. It reads the JSON in #content and pictures in base64 from #blob-0, #blob-1, ...
// Names are only ever put into the page as text. Parts, in this order: data, masks, drawing, gallery, viewer, keys.

(() => {
  const page = JSON.parse(document.getElementById("content").textContent);
  const BITS = 16; // masks in one number of a map of the kind "masks"
  const FINE = 480; // pixels of an outline's canvas along a side, as near as whole times the photo's allow
  const KEPT_IN_MEMORY = 40; // decoded entries
  const FEW = 60; // thumbnails that are drawn at once
  const find = (id) => document.getElementById(id);

  // ---- Data ----------------------------------------------------------------------------------------------------

  /** Returns a new element with properties; children are elements or text. */
  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  const mean = (values) => {
    const known = values.filter((value) => value !== null);
    return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
  };
  const text = (value, digits = 2) => (value === null || value === undefined ? "–" : value.toFixed(digits));
  const percent = (area) => `${(100 * area).toFixed(area < 0.0995 ? 2 : 1).replace(/\.?0+$/, "")} %`;
  const nameOf = (column) => page.names[column] || column.replaceAll("_", " ");
  const isNumber = (value) => value !== "" && value !== null && Number.isFinite(Number(value));

  /** Returns the mean over areas of a score of explanation k, counted from 0. */
  const scoreOf = (entry, column, k) =>
    entry && entry.scores[column] && entry.scores[column][k] ? mean(entry.scores[column][k]) : null;

  /** Returns the bytes of a picture, or null while the browser has not read the file as far as there. */
  function bytesOf(place) {
    const element = find(`blob-${place}`);
    if (!element) return null;
    const binary = atob(element.textContent);
    return Uint8Array.from(binary, (character) => character.charCodeAt(0));
  }

  /** Returns the pixels of a picture, exactly as they are stored. */
  async function pixelsOf(bytes, type) {
    const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
    const bitmap = await createImageBitmap(new Blob([bytes], { type }), options);
    const canvas = make("canvas", { width: bitmap.width, height: bitmap.height });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    return context.getImageData(0, 0, canvas.width, canvas.height);
  }

  // ---- Masks ---------------------------------------------------------------------------------------------------

  /** Returns the number of 16 bits of each pixel of a packed map: its higher half is red, its lower half green. */
  function unpack(image) {
    const numbers = new Uint16Array(image.width * image.height);
    for (let i = 0; i < numbers.length; i += 1) numbers[i] = (image.data[4 * i] << 8) | image.data[4 * i + 1];
    return numbers;
  }

  /** Returns the hard mask of a step: 1 keeps the pixel. */
  function maskOf(numbers, kind, step, pixels) {
    const mask = new Uint8Array(pixels);
    if (kind === "ranks") {
      for (let i = 0; i < pixels; i += 1) mask[i] = numbers[i] <= step ? 1 : 0;
    } else {
      const start = Math.floor(step / BITS) * pixels;
      const bit = step % BITS;
      for (let i = 0; i < pixels; i += 1) mask[i] = (numbers[start + i] >> bit) & 1;
    }
    return mask;
  }

  const areasOf = (entry) => page.tables[entry.table];

  /** Returns the step of an entry whose area is nearest to the one given. */
  function nearestStep(entry, area) {
    const areas = areasOf(entry);
    let best = 0;
    areas.forEach((value, step) => {
      if (Math.abs(value - area) < Math.abs(areas[best] - area)) best = step;
    });
    return best;
  }

  const decoded = new Map(); // entry -> promise of its pixels, the last used last

  /** Returns the photo, its veiled copy and the maps of an entry; null while the file is still being read. */
  function decode(entry) {
    if (decoded.has(entry)) {
      const known = decoded.get(entry);
      decoded.delete(entry);
      decoded.set(entry, known);
      return known;
    }
    const photo = entry.photo === null ? undefined : bytesOf(entry.photo);
    const maps = entry.maps.map(bytesOf);
    if (photo === null || maps.includes(null)) return null;
    const promise = decodeAll(entry, photo, maps);
    decoded.set(entry, promise);
    if (decoded.size > KEPT_IN_MEMORY) decoded.delete(decoded.keys().next().value);
    return promise;
  }

  async function decodeAll(entry, photo, maps) {
    const [height, width] = entry.size;
    const images = await Promise.all(maps.map((bytes) => pixelsOf(bytes, "image/png")));
    const shown = photo ? await pixelsOf(photo, "image/jpeg") : new ImageData(width, height);
    if (!photo) shown.data.fill(255);
    return { width, height, photo: shown, veiled: null, maps: images.map(unpack) };
  }

  /** Returns a photo as it looks where a mask keeps nothing: grey, with little contrast, darker or lighter than it. */
  function veil(photo) {
    const { luma, contrast, dark, light } = page.veil;
    const pixels = photo.data.length / 4;
    const grey = new Float32Array(pixels);
    for (let i = 0; i < pixels; i += 1) {
      const at = 4 * i;
      grey[i] = (luma[0] * photo.data[at] + luma[1] * photo.data[at + 1] + luma[2] * photo.data[at + 2]) / 255;
    }
    const distance = (start) => {
      let sum = 0;
      for (let i = 0; i < pixels; i += 1) sum += Math.abs(start + (contrast - 1) * grey[i]);
      return sum;
    };
    const start = distance(light) > distance(dark) ? light : dark;
    const veiled = new ImageData(photo.width, photo.height);
    for (let i = 0; i < pixels; i += 1) {
      const value = Math.round(255 * (start + contrast * grey[i]));
      for (let channel = 0; channel < 3; channel += 1) veiled.data[4 * i + channel] = value;
      veiled.data[4 * i + 3] = 255;
    }
    return veiled;
  }

  // ---- Drawing -------------------------------------------------------------------------------------------------

  const colourOf = (entry, k) =>
    entry.carries[k] === false ? page.colours.nothing : page.colours.explanations[k % page.colours.explanations.length];

  /** Draws the photo where `where` is `clear`, and its veiled copy elsewhere. */
  function drawPixels(canvas, pictures, where, clear) {
    canvas.width = pictures.width;
    canvas.height = pictures.height;
    if (pictures.veiled === null) pictures.veiled = veil(pictures.photo);
    const from = [new Uint32Array(pictures.veiled.data.buffer), new Uint32Array(pictures.photo.data.buffer)];
    const image = new ImageData(pictures.width, pictures.height);
    const pixels = new Uint32Array(image.data.buffer);
    for (let i = 0; i < pixels.length; i += 1) pixels[i] = from[where[i] === clear ? 1 : 0][i];
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  /** Returns the edges between kept and other pixels, and along the picture's border, as a path of straight lines. */
  function edgesOf(mask, width, height, scale) {
    const path = new Path2D();
    const at = (y, x) => (y < 0 || x < 0 || y >= height || x >= width ? 0 : mask[y * width + x]);
    const walk = (lines, length, differs, add) => {
      for (let line = 0; line <= lines; line += 1) {
        let start = -1;
        for (let place = 0; place <= length; place += 1) {
          const edge = place < length && differs(line, place);
          if (edge && start < 0) start = place;
          if (!edge && start >= 0) {
            add(line * scale, start * scale, place * scale);
            start = -1;
          }
        }
      }
    };
    walk(
      height,
      width,
      (y, x) => at(y - 1, x) !== at(y, x),
      (y, from, to) => {
        path.moveTo(from, y);
        path.lineTo(to, y);
      },
    );
    walk(
      width,
      height,
      (x, y) => at(y, x - 1) !== at(y, x),
      (x, from, to) => {
        path.moveTo(x, from);
        path.lineTo(x, to);
      },
    );
    return path;
  }

  /** Draws the outline of each mask: its colour between light edges between dark ones, which show on every ground. */
  function drawOutlines(canvas, pictures, masks, colours, scale, line) {
    canvas.width = pictures.width * scale;
    canvas.height = pictures.height * scale;
    const context = canvas.getContext("2d");
    context.lineCap = context.lineJoin = "round";
    masks.forEach((mask, i) => {
      const path = edgesOf(mask, pictures.width, pictures.height, scale);
      const strokes = [
        [2.2, page.colours.dark],
        [1.6, page.colours.light],
        [1, colours[i]],
      ];
      strokes.forEach(([times, colour]) => {
        context.lineWidth = line * times;
        context.strokeStyle = colour;
        context.stroke(path);
      });
    });
  }

  /** Returns one mask that keeps what any of the masks keeps. */
  function union(masks, pixels) {
    const all = new Uint8Array(pixels);
    for (const mask of masks) {
      for (let i = 0; i < pixels; i += 1) all[i] |= mask[i];
    }
    return all;
  }

  // ---- Gallery -------------------------------------------------------------------------------------------------

  const order = { column: "gain", descending: false };
  let shown = page.images; // in the gallery, in its order

  const first = (image) => image.entries.find((entry) => entry !== null);
  const several = page.runs.length > 1;

  /** Returns the largest difference between two runs in what explanation 1 keeps beyond chance. */
  function spread(image) {
    const gains = image.entries.filter((entry) => entry && entry.gain !== null).map((entry) => entry.gain);
    return gains.length > 1 ? Math.max(...gains) - Math.min(...gains) : null;
  }

  /** Returns the columns by which images can be sorted: a name, a group, and a function that gives an image's value. */
  function sortColumns() {
    const columns = [
      { id: "gain", name: "worst first", group: "", value: (image) => first(image).gain },
      { id: "name", name: "name", group: "", value: (image) => image.name },
      { id: "target", name: "class", group: "", value: (image) => first(image).target },
      { id: "predicted", name: "prediction", group: "", value: (image) => first(image).predicted },
      { id: "whole", name: "p of the class", group: "", value: (image) => first(image).whole },
      { id: "pPredicted", name: "p of the prediction", group: "", value: (image) => first(image).pPredicted },
    ];
    if (several) {
      columns.unshift(
        { id: "spread", name: "difference of kept beyond chance", group: "", value: spread },
        { id: "difference", name: "difference of masks, 1 - IoU", group: "", value: (image) => image.difference },
      );
    }
    page.runs.forEach((run, r) => {
      const entries = page.images.map((image) => image.entries[r]).filter((entry) => entry !== null);
      const scores = new Set(entries.flatMap((entry) => Object.keys(entry.scores)));
      const most = Math.max(0, ...entries.map((entry) => entry.carries.length));
      for (let k = 0; k < most; k += 1) {
        const group = `${several ? `${run}, ` : ""}explanation ${k + 1}`;
        [...Object.keys(page.names), ...[...scores].filter((name) => !(name in page.names))]
          .filter((column) => scores.has(column))
          .forEach((column) =>
            columns.push({
              id: `${r}/${k}/${column}`,
              name: nameOf(column),
              group,
              value: (image) => scoreOf(image.entries[r], column, k),
            }),
          );
      }
      ["audit", "metrics"].forEach((kind) => {
        const names = new Set(entries.flatMap((entry) => Object.keys(entry[kind])));
        const group = `${several ? `${run}, ` : ""}${kind === "audit" ? "audit" : "evaluation"}`;
        names.forEach((column) =>
          columns.push({
            id: `${r}/${kind}/${column}`,
            name: nameOf(column),
            group,
            value: (image) => valueOf(image.entries[r], kind, column),
          }),
        );
      });
    });
    return columns;
  }

  function valueOf(entry, kind, column) {
    const value = entry ? entry[kind][column] : null;
    if (value === undefined || value === null || value === "") return null;
    return isNumber(value) ? Number(value) : value;
  }

  /** Compares two values, of which unknown ones come last in either order. */
  function compare(a, b) {
    if (a === null || a === undefined || b === null || b === undefined)
      return (a ?? null) === null ? ((b ?? null) === null ? 0 : 1) : -1;
    const ascending = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
    return order.descending ? -ascending : ascending;
  }

  const verdictOf = (image) => image.entries.map((entry) => entry && entry.audit.evidence).find(Boolean) || null;
  const isWrong = (image) => image.entries.some((entry) => entry && entry.wrong);
  const carriesNothing = (image) => image.entries.some((entry) => entry && entry.carries[0] === false);

  const columns = sortColumns();
  const cards = new Map();
  let arranged = { column: null, descending: null, images: [] }; // the order in which the cards stand

  /** Shows the images that fit the search and the filters, in order. */
  function updateGallery() {
    const words = find("search").value.trim().toLocaleLowerCase();
    const verdict = find("verdict").value;
    const fits = (image) => {
      const texts = [
        image.name,
        ...image.entries.flatMap((entry) => (entry ? [entry.target, entry.predicted || ""] : [])),
      ];
      return (
        texts.some((one) => one.toLocaleLowerCase().includes(words)) &&
        (!find("only-wrong").checked || isWrong(image)) &&
        (!find("only-nothing").checked || carriesNothing(image)) &&
        (verdict === "" || verdictOf(image) === verdict)
      );
    };
    arrange();
    shown = arranged.images.filter(fits);
    const chosen = new Set(shown);
    page.images.forEach((image) => {
      cards.get(image).element.hidden = !chosen.has(image);
    });
    find("count").textContent = `${shown.length} of ${page.images.length} images`;
    find("order").textContent = order.descending ? "descending" : "ascending";
    find("order").setAttribute("aria-label", `Order: ${find("order").textContent}`);
  }

  /** Puts the cards of all images in order, if they are not. Each says the value by which it is sorted. */
  function arrange() {
    if (arranged.column === order.column && arranged.descending === order.descending) return;
    const column = columns.find((one) => one.id === order.column);
    const images = [...page.images].sort((a, b) => compare(column.value(a), column.value(b)));
    find("cards").replaceChildren(...images.map((image) => cardOf(image)));
    const onCard = ["name", "target", "predicted", "whole", "pPredicted"].includes(column.id);
    const name = column.id === "gain" ? "kept beyond chance" : column.name;
    const label = column.group ? `${name}, ${column.group}` : name;
    images.forEach((image) => {
      const value = column.value(image);
      const said = typeof value === "number" ? text(value, 3) : (value ?? "–");
      cards.get(image).sorted.textContent = onCard ? "" : `${label}: ${said}`;
    });
    arranged = { ...order, images };
  }

  /** Returns the card of an image, which is made once. */
  function cardOf(image) {
    if (cards.has(image)) return cards.get(image).element;
    const thumbs = make("div", { className: "thumbs" });
    image.entries.forEach((entry, r) => {
      const canvas = make("canvas", { width: 112, height: 112, title: several ? page.runs[r] : "" });
      canvas.setAttribute("aria-hidden", "true");
      if (entry === null) {
        canvas.className = "absent"; // keeps the place of a run that lacks the image
        thumbs.append(canvas);
        return;
      }
      waiting.set(canvas, entry);
      watcher.observe(canvas);
      thumbs.append(canvas);
    });
    const one = first(image);
    const facts =
      one.whole === null
        ? ""
        : [
            ["p", one.whole],
            ["kept", scoreOf(one, page.columns.kept, 0)],
            ["chance", scoreOf(one, page.columns.chance, 0)],
          ]
            .map(([word, value]) => `${word} ${text(value)}`)
            .join(", ");
    const badges = [];
    const wrong = image.entries.find((entry) => entry && entry.wrong);
    if (wrong) badges.push(`predicted ${wrong.predicted}`);
    if (carriesNothing(image)) badges.push("nothing carried");
    const sorted = make("span");
    const element = make(
      "button",
      { type: "button", className: "card", onclick: () => open(image) },
      thumbs,
      make("strong", { textContent: image.name, title: image.name }),
      make("span", { textContent: one.target }),
      make("span", { textContent: facts }),
      sorted,
      ...badges.map((badge) => make("span", { className: "badge", textContent: badge })),
    );
    cards.set(image, { element, sorted });
    return element;
  }

  const waiting = new Map(); // canvas -> entry of thumbnails that are not drawn
  const queue = new Set(); // those of them that are in sight
  const watcher = new IntersectionObserver(
    (changes) => {
      changes.forEach(({ target, isIntersecting }) => {
        if (isIntersecting) queue.add(target);
        else queue.delete(target);
      });
      drawNext();
    },
    { rootMargin: "200px" },
  );
  let drawing = false;

  /** Draws the thumbnails in sight, one after another, and leaves the browser a frame between two. */
  async function drawNext() {
    if (drawing) return;
    drawing = true;
    try {
      for (const canvas of queue) {
        const entry = waiting.get(canvas);
        const pictures = entry ? decode(entry) : undefined;
        if (pictures === null) break; // the browser still reads the file: see below
        queue.delete(canvas);
        waiting.delete(canvas);
        watcher.unobserve(canvas);
        if (entry) await drawWhenDecoded(canvas, entry, pictures);
      }
    } finally {
      drawing = false;
    }
    if (queue.size && document.readyState === "loading") setTimeout(drawNext, 50);
  }

  /** Draws one thumbnail; if its pictures are broken, the others go on. */
  async function drawWhenDecoded(canvas, entry, pictures) {
    try {
      drawThumbnail(canvas, entry, await pictures);
    } catch (error) {
      console.error(error);
    }
    await new Promise((resolve) => {
      requestAnimationFrame(resolve);
    });
  }

  /** Draws all thumbnails of a small gallery, also those out of sight, which a printer would miss. */
  function drawAll() {
    if (waiting.size > FEW) return;
    [...waiting.keys()].forEach((canvas) => queue.add(canvas));
    drawNext();
  }

  function drawThumbnail(canvas, entry, pictures) {
    const area = middleOf(entry);
    const step = nearestStep(entry, area);
    const pixels = pictures.width * pictures.height;
    const masks = pictures.maps.map((numbers) => maskOf(numbers, entry.kind, step, pixels));
    const fine = make("canvas");
    drawOutlines(
      fine,
      pictures,
      masks,
      masks.map((_, k) => colourOf(entry, k)),
      1,
      Math.max(1.5, pictures.width / 60),
    );
    const whole = make("canvas", { width: pictures.width, height: pictures.height });
    whole.getContext("2d").putImageData(pictures.photo, 0, 0);
    const scale = Math.min(1, 160 / Math.max(pictures.width, pictures.height));
    canvas.width = Math.round(pictures.width * scale);
    canvas.height = Math.round(pictures.height * scale);
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(whole, 0, 0, canvas.width, canvas.height);
    context.drawImage(fine, 0, 0, canvas.width, canvas.height);
    canvas.dataset.drawn = "yes";
  }

  /** Returns the middle one of the areas that were fitted, or a tenth. */
  function middleOf(entry) {
    const areas = [...entry.areas].sort((a, b) => a - b);
    return areas.length ? areas[Math.floor((areas.length - 1) / 2)] : 0.1;
  }

  // ---- Viewer --------------------------------------------------------------------------------------------------

  const VIEWS = ["kept", "removed", "outline", "all"];
  const TITLES = { photo: "photo", kept: "kept", removed: "removed", outline: "outline" };
  const view = { image: null, panels: [], area: 0.1, mode: "kept", on: new Set([0]) };

  /** Shows an image in place of the gallery. */
  async function open(image) {
    const entry = first(image);
    view.image = image;
    if (find("viewer").hidden) view.scrolled = window.scrollY;
    show(true);
    find("name").textContent = image.name;
    find("classes").textContent = classesOf(entry);
    find("classes").hidden = several; // each panel says it of its run
    const place = shown.indexOf(image);
    find("place").textContent = `${place + 1} of ${shown.length}`;
    find("previous").disabled = place <= 0;
    find("next").disabled = place < 0 || place >= shown.length - 1;
    fillControls(image);
    await fillPanels(image);
    if (view.image !== image) return;
    if (page.images.length > 1) {
      window.scrollTo(0, 0);
      find("name").focus({ preventScroll: true });
    }
    draw();
  }

  /** Shows the viewer, or the gallery with the summary; of a single image there is no gallery. */
  function show(viewer) {
    find("viewer").hidden = !viewer;
    find("gallery").hidden = viewer;
    find("summary").hidden = viewer && page.images.length > 1;
  }

  function classesOf(entry) {
    if (entry.whole === null) return entry.target;
    const explained = `${entry.target}, p ${text(entry.whole)}`;
    if (entry.predicted === null) return `Explained: ${explained}.`;
    const p = entry.pPredicted === null ? "" : `, p ${text(entry.pPredicted)}`;
    return entry.predicted === entry.target && !entry.wrong
      ? `Explained and predicted: ${explained}.`
      : `Explained: ${explained}. Predicted: ${entry.predicted}${p}.`;
  }

  /** Returns the entry of an image whose slider has the most steps. */
  const finest = (image) =>
    image.entries
      .filter(Boolean)
      .reduce((best, entry) => (areasOf(entry).length > areasOf(best).length ? entry : best));

  function fillControls(image) {
    const entry = finest(image);
    const areas = areasOf(entry);
    find("area").max = areas.length - 1;
    const fitted = [...new Set(image.entries.filter(Boolean).flatMap((one) => one.areas))].sort((a, b) => a - b);
    if (!view.chosen) view.area = middleOf(first(image));
    find("area").value = nearestStep(entry, view.area);
    find("fitted").replaceChildren(
      ...fitted.map((area) =>
        make("button", {
          type: "button",
          textContent: percent(area),
          onclick: () => setArea(area),
        }),
      ),
    );
    const most = Math.max(...image.entries.filter(Boolean).map((one) => one.maps.length));
    const boxes = Array.from({ length: most }, (_, k) => {
      const swatch = make("span", { className: "swatch" });
      swatch.style.background = colourOf(first(image), k);
      const box = make("input", { type: "checkbox", checked: view.on.has(k), onchange: () => toggle(k, box.checked) });
      const words = first(image).carries[k] === false ? `${k + 1} (no more than chance)` : `${k + 1}`;
      return make("label", {}, box, swatch, words);
    });
    find("explanations").replaceChildren(find("explanations").firstElementChild, ...boxes);
    document.querySelector(`input[name=view][value=${view.mode}]`).checked = true;
  }

  function setArea(area) {
    view.area = area;
    view.chosen = true;
    find("area").value = nearestStep(finest(view.image), area);
    draw();
  }

  function toggle(k, on) {
    if (on) view.on.add(k);
    else view.on.delete(k);
    draw();
  }

  function setMode(mode) {
    view.mode = mode;
    document.querySelector(`input[name=view][value=${mode}]`).checked = true;
    fillPanels(view.image).then(draw);
  }

  /** Makes a panel for each run: its pictures, which `draw` fills, and what is known of the image. */
  async function fillPanels(image) {
    const made = await Promise.all(
      image.entries.map(async (entry, r) =>
        entry === null ? absentPanel(page.runs[r]) : makePanel(entry, page.runs[r], await whenRead(entry)),
      ),
    );
    if (view.image !== image) return;
    view.panels = made.filter((panel) => panel.figures);
    find("panels").replaceChildren(...made.map((panel) => panel.element));
  }

  /** Returns the pixels of an entry once the browser has read the file as far as there. */
  async function whenRead(entry) {
    for (;;) {
      const pictures = decode(entry);
      if (pictures !== null) return pictures;
      await new Promise((resolve) => {
        setTimeout(resolve, 50);
      });
    }
  }

  function absentPanel(run) {
    const words = make("p", { className: "small", textContent: "It has not this image." });
    return { element: make("article", { className: "panel" }, make("h3", { textContent: run }), words) };
  }

  function makePanel(entry, run, pictures) {
    const kinds = view.mode === "all" ? ["photo", "outline", "kept", "removed"] : [view.mode];
    const figures = kinds.map((kind) => {
      const below = make("canvas", { className: "pixels" });
      const above = make("canvas", { className: "lines" });
      below.setAttribute("role", "img");
      above.setAttribute("aria-hidden", "true");
      below.dataset.kind = kind;
      const caption = make("figcaption");
      const element = make("figure", {}, make("span", { className: "stack" }, below, above), caption);
      return { kind, below, above, caption, element };
    });
    const chart = entry.areas.length ? chartOf(entry) : null;
    const table = entry.areas.length ? tableOf(entry) : null;
    const facts = make(
      "div",
      { className: "numbers" },
      ...[chart && chart.element, table && table.element, auditOf(entry), metricsOf(entry), scoresOf(entry)].filter(
        Boolean,
      ),
    );
    const element = make("article", { className: `panel${kinds.length > 1 ? " four" : ""}` });
    const shownFigures = make("div", { className: "pictures" }, ...figures.map((figure) => figure.element));
    const left = make("div");
    if (several)
      left.append(make("h3", { textContent: run }), make("p", { className: "small", textContent: classesOf(entry) }));
    left.append(shownFigures);
    element.append(left, facts);
    return { entry, run, pictures, figures, chart, table, element };
  }

  let asked = 0;

  /** Draws the masks of the slider's area at the next frame. */
  function draw() {
    cancelAnimationFrame(asked);
    asked = requestAnimationFrame(drawNow);
  }

  function drawNow() {
    if (!view.image) return;
    const slider = find("area");
    const areas = areasOf(finest(view.image));
    const area = areas[Number(slider.value)];
    find("area-text").textContent = percent(area);
    slider.setAttribute("aria-valuetext", `${percent(area)} of the image`);
    [...find("fitted").children].forEach((button) => {
      button.setAttribute("aria-pressed", String(button.textContent === percent(area)));
    });
    view.panels.forEach((panel) => drawPanel(panel, area));
  }

  function drawPanel(panel, area) {
    const { entry, pictures } = panel;
    const step = nearestStep(entry, area);
    const own = areasOf(entry)[step];
    const on = pictures.maps.map((_, k) => k).filter((k) => view.on.has(k));
    const pixels = pictures.width * pictures.height;
    const masks = on.map((k) => maskOf(pictures.maps[k], entry.kind, step, pixels));
    const all = union(masks, pixels);
    const fine = Math.max(1, Math.round(FINE / pictures.width));
    const colours = on.map((k) => colourOf(entry, k));
    const which = on.length
      ? `explanation${on.length > 1 ? "s" : ""} ${on.map((k) => k + 1).join(" and ")}`
      : "no explanation";
    panel.figures.forEach(({ kind, below, above, caption }) => {
      const where = kind === "kept" || kind === "removed" ? all : new Uint8Array(pixels);
      drawPixels(below, pictures, where, kind === "kept" ? 1 : 0);
      drawOutlines(above, pictures, kind === "photo" ? [] : masks, colours, fine, (fine * pictures.width) / 150);
      const words = kind === "photo" ? "photo" : `${TITLES[kind]}: ${which} at ${percent(own)} of the image`;
      below.setAttribute("aria-label", `${view.image.name}, ${several ? `${panel.run}, ` : ""}${words}`);
      below.dataset.step = step;
      caption.textContent = entry.photo === null ? `${words} (the photo is not at hand)` : words;
    });
    if (panel.chart) panel.chart.mark(own);
    if (panel.table) panel.table.mark(own);
  }

  const SVG = "http://www.w3.org/2000/svg";
  const svg = (tag, attributes, words = "") => {
    const element = document.createElementNS(SVG, tag);
    Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
    element.textContent = words;
    return element;
  };

  /** Returns a chart of the scores against the area, and the function that marks an area in it. */
  function chartOf(entry) {
    const [width, height, left, bottom, right, top] = [400, 210, 40, 34, 8, 10];
    const largest = areasOf(entry)[areasOf(entry).length - 1];
    const values = [page.columns.kept, page.columns.chance, page.columns.removed]
      .flatMap((column) => (entry.scores[column] || []).flat())
      .concat(entry.whole)
      .filter((value) => value !== null);
    const [low, high] = [Math.min(0, ...values), Math.max(...values.map(Math.abs), 0) > 1 ? Math.max(...values) : 1];
    const x = (area) => left + (area / largest) * (width - left - right);
    const y = (value) => height - bottom - ((value - low) / (high - low || 1)) * (height - bottom - top);
    const element = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
    element.setAttribute("aria-label", "Scores against the area; the table below has the numbers.");
    element.append(svg("path", { class: "axis", d: `M${left} ${top}V${height - bottom}H${width - right}` }));
    [low, (low + high) / 2, high].forEach((value) =>
      element.append(
        svg("text", { x: left - 5, y: y(value) + 4, "text-anchor": "end" }, value.toFixed(high > 10 ? 0 : 1)),
      ),
    );
    [0, largest / 2, largest].forEach((area) =>
      element.append(
        svg(
          "text",
          { x: x(area), y: height - bottom + 14, "text-anchor": area === largest ? "end" : "middle" },
          percent(area),
        ),
      ),
    );
    element.append(svg("text", { x: (left + width) / 2, y: height - 4, "text-anchor": "middle" }, "area kept"));
    const line = (row, colour, dash) => {
      const points = entry.areas
        .map((area, a) => [area, row[a]])
        .filter(([, value]) => value !== null)
        .sort((p, q) => p[0] - q[0]);
      const d = points.map(([area, value], i) => `${i ? "L" : "M"}${x(area)} ${y(value)}`).join("");
      element.append(svg("path", { d, fill: "none", stroke: colour, "stroke-width": 2, "stroke-dasharray": dash }));
      points.forEach(([area, value]) =>
        element.append(svg("circle", { cx: x(area), cy: y(value), r: 3, fill: colour })),
      );
    };
    element.append(
      svg("path", { class: "axis", "stroke-dasharray": "1 3", d: `M${left} ${y(entry.whole)}H${width - right}` }),
    );
    element.append(svg("text", { x: width - right, y: y(entry.whole) - 3, "text-anchor": "end" }, "whole image"));
    entry.carries.forEach((_, k) => {
      const rows = [
        [page.columns.removed, "2 4"],
        [page.columns.chance, "7 4"],
        [page.columns.kept, "none"],
      ];
      rows.forEach(([column, dash]) => {
        if (entry.scores[column])
          line(
            entry.scores[column][k],
            column === page.columns.chance
              ? page.colours.nothing
              : page.colours.explanations[k % page.colours.explanations.length],
            dash,
          );
      });
    });
    const now = svg("path", { class: "now" });
    element.append(now);
    const words =
      "Class's score. Line: kept alone, in the explanation's colour. Dots: left without it. Grey dashes: random masks.";
    return {
      element: make("figure", {}, element, make("figcaption", { textContent: words })),
      mark: (area) => now.setAttribute("d", `M${x(area)} ${top}V${height - bottom}`),
    };
  }

  /** Returns a table of the main scores at the areas that were fitted; `mark` shows the rows nearest to an area. */
  function tableOf(entry) {
    const names = Object.keys(page.names).filter((column) => entry.scores[column]);
    const head = make(
      "tr",
      {},
      ...["expl.", "area", ...names.map(nameOf), "carries"].map((word) =>
        make("th", { textContent: word, scope: "col" }),
      ),
    );
    const rows = [];
    entry.carries.forEach((carries, k) =>
      entry.areas.forEach((area, a) => {
        const cells = [
          String(k + 1),
          percent(area),
          ...names.map((column) => text(entry.scores[column][k][a])),
          carries === null ? "–" : carries ? "yes" : "no",
        ];
        rows.push({ area, element: make("tr", {}, ...cells.map((cell) => make("td", { textContent: cell }))) });
      }),
    );
    const table = make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows.map((row) => row.element)));
    return {
      element: make(
        "div",
        { className: "scroll", tabIndex: 0, ariaLabel: "Scores at the areas that were fitted" },
        table,
      ),
      mark: (area) => {
        const near = entry.areas.reduce((best, one) => (Math.abs(one - area) < Math.abs(best - area) ? one : best));
        rows.forEach((row) => row.element.classList.toggle("now", row.area === near));
      },
    };
  }

  /** Returns the audit's verdict, and a bar of the shares of the class's probability; null without an audit. */
  function auditOf(entry) {
    const { audit } = entry;
    if (!audit.evidence) return null;
    const values = entry.carries
      .map((_, k) => ({
        label: `explanation ${k + 1}`,
        value: Number(audit[`shapley_${k + 1}`]),
        colour: page.colours.explanations[k % 5],
      }))
      .concat({ label: "the rest of the image", value: Number(audit.shapley_rest), colour: page.colours.nothing })
      .filter(({ value }) => Number.isFinite(value));
    const total = values.reduce((sum, { value }) => sum + Math.max(0, value), 0) || 1;
    const bar = make("div", { className: "shares" });
    bar.setAttribute("role", "img");
    const words = values.map(({ label, value }) => `${label} ${value.toFixed(2)}`).join(", ");
    bar.setAttribute("aria-label", `Shares of the class's probability: ${words}`);
    values.forEach(({ value, colour }) => {
      const part = make("i");
      part.style.background = colour;
      part.style.width = `${(100 * Math.max(0, value)) / total}%`;
      bar.append(part);
    });
    const sure = isNumber(audit.confidence)
      ? `, in ${Math.round(100 * Number(audit.confidence))} % of the resamples`
      : "";
    const where = audit.where ? ` Where it lies: ${audit.where}.` : "";
    return make(
      "section",
      {},
      make("h3", { textContent: "Audit" }),
      make("p", {
        className: "small",
        textContent: `Verdict: ${audit.evidence}${sure}.${where} ${page.verdicts[audit.evidence] || ""}`,
      }),
      bar,
      make("p", { className: "small", textContent: `Shapley values of p: ${words}.` }),
    );
  }

  function metricsOf(entry) {
    const known = Object.entries(entry.metrics).filter(([, value]) => value !== null);
    return known.length
      ? listing(
          "Evaluation",
          known.map(([name, value]) => [nameOf(name), text(value, 3)]),
        )
      : null;
  }

  /** Returns all scores as means over areas, folded away. */
  function scoresOf(entry) {
    const names = Object.keys(entry.scores);
    if (!names.length) return null;
    return listing(
      "All scores (means over areas)",
      names.map((name) => [nameOf(name), ...entry.carries.map((_, k) => text(scoreOf(entry, name, k), 3))]),
    );
  }

  function listing(title, rows) {
    const body = rows.map((cells) => make("tr", {}, ...cells.map((cell) => make("td", { textContent: cell }))));
    const table = make("table", {}, make("tbody", {}, ...body));
    return make(
      "details",
      {},
      make("summary", { textContent: title }),
      make("div", { className: "scroll", tabIndex: 0 }, table),
    );
  }

  /** Goes to the image that comes so many places after the one that is shown. */
  function goBy(places) {
    const image = shown[shown.indexOf(view.image) + places];
    if (image) open(image);
  }

  function close() {
    if (page.images.length === 1) return;
    const image = view.image;
    show(false);
    view.image = null;
    if (!image) return;
    window.scrollTo(0, view.scrolled);
    cards.get(image).element.focus();
  }

  // ---- Keys and start ------------------------------------------------------------------------------------------

  const isField = (element) =>
    element.matches("input:not([type=checkbox]):not([type=radio]):not([type=range]), select, textarea");

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { target, key } = event;
    if (key === "Escape") {
      if (view.image) close();
      else if (find("search").value) {
        find("search").value = "";
        updateGallery();
      }
      return;
    }
    if (isField(target)) return;
    if (key === "/" && page.images.length > 1) {
      close();
      find("search").focus();
      find("search").select();
    } else if (!view.image) {
      if (!moveFocus(key)) return;
    } else if ((key === "ArrowLeft" || key === "ArrowRight") && !target.matches("input")) {
      goBy(key === "ArrowLeft" ? -1 : 1);
    } else if ((key === "ArrowUp" || key === "ArrowDown") && !target.matches("input")) {
      const slider = find("area");
      slider.value = Number(slider.value) + (key === "ArrowUp" ? 1 : -1);
      slider.dispatchEvent(new Event("input"));
    } else if (key >= "1" && key <= "9" && find("explanations").querySelectorAll("input")[key - 1]) {
      find("explanations").querySelectorAll("input")[key - 1].click();
    } else if (key === "v") {
      setMode(VIEWS[(VIEWS.indexOf(view.mode) + 1) % VIEWS.length]);
    } else return;
    event.preventDefault();
  }

  /** Moves the focus from one card to another by the arrow keys; returns whether the key was one of them. */
  function moveFocus(key) {
    const all = [...find("cards").children].filter((card) => !card.hidden);
    const place = all.indexOf(document.activeElement);
    const inRow = all.filter((card) => card.offsetTop === all[0].offsetTop).length;
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -inRow, ArrowDown: inRow }[key];
    if (by === undefined || place < 0) return false;
    (all[place + by] || all[place]).focus();
    return true;
  }

  function fillGalleryControls() {
    const groups = new Map();
    columns.forEach((column) => {
      if (!groups.has(column.group))
        groups.set(column.group, column.group ? make("optgroup", { label: column.group }) : find("sort"));
      groups.get(column.group).append(make("option", { value: column.id, textContent: column.name }));
    });
    groups.forEach((group) => {
      if (group !== find("sort")) find("sort").append(group);
    });
    const scored = page.images.some((image) => spread(image) !== null);
    order.column = several ? (scored ? "spread" : "difference") : "gain";
    order.descending = several;
    find("sort").value = order.column;
    const verdicts = [...new Set(page.images.map(verdictOf).filter(Boolean))].sort();
    find("verdicts").hidden = !verdicts.length;
    find("verdict").append(
      make("option", { value: "", textContent: "any" }),
      ...verdicts.map((one) => make("option", { value: one, textContent: one })),
    );
    find("cards").style.setProperty("--card", `${Math.min(4, page.runs.length) * 6 + 5}rem`);
    find("cards").style.setProperty("--narrow", several ? "100%" : "9rem");
  }

  function listen() {
    ["search", "verdict", "only-wrong", "only-nothing"].forEach((id) =>
      find(id).addEventListener("input", updateGallery),
    );
    find("sort").addEventListener("input", () => {
      order.column = find("sort").value;
      order.descending = ["spread", "difference", "whole", "pPredicted"].includes(order.column);
      updateGallery();
    });
    find("order").addEventListener("click", () => {
      order.descending = !order.descending;
      updateGallery();
    });
    find("area").addEventListener("input", () => {
      view.area = areasOf(finest(view.image))[Number(find("area").value)];
      view.chosen = true;
      draw();
    });
    document
      .querySelectorAll("input[name=view]")
      .forEach((radio) => radio.addEventListener("input", () => setMode(radio.value)));
    find("back").addEventListener("click", close);
    find("previous").addEventListener("click", () => goBy(-1));
    find("next").addEventListener("click", () => goBy(1));
    document.addEventListener("keydown", onKey);
    document.addEventListener("DOMContentLoaded", drawAll);
  }

  fillGalleryControls();
  listen();
  updateGallery();
  if (page.images.length === 1) {
    ["back", "previous", "next", "place"].forEach((id) => {
      find(id).hidden = true;
    });
    open(page.images[0]);
  } else {
    show(false);
  }
})();
