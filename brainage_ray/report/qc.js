"use strict";
(() => {
  const PER_PAGE = 48;
  const STRIP_Z = 8;  // robust sd at the ends of a strip
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = id => document.getElementById(id);
  const filters = [...document.querySelectorAll("[data-filter]")];
  let chosen = data.scans, page = 0, zoomed = -1;

  data.scans.forEach((scan, i) => {
    scan.rank = i;  // outliers first, as Python sorted them
    scan.text = [scan.image, scan.cohort, ...scan.facts].join(" ").toLowerCase();
  });

  const orders = {
    z: (a, b) => a.rank - b.rank,
    image: (a, b) => a.image.localeCompare(b.image, "en", {numeric: true}) || a.rank - b.rank,
    age: (a, b) => lowest(a.age, b.age) || a.rank - b.rank,
  };
  data.measures.forEach((_, i) => orders[i] = (a, b) => lowest(a.values[i], b.values[i]) || a.rank - b.rank);

  function lowest(a, b) {  // scans without the number come last
    if (a === null || b === null) return (a === null) - (b === null);
    return a - b;
  }

  function choose() {
    const words = at("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    chosen = data.scans.filter(scan =>
      (!at("only").checked || scan.outlier)
      && filters.every(f => f.value === "*" || scan[f.dataset.filter] === f.value)
      && words.every(word => scan.text.includes(word)));
    chosen.sort(orders[at("order").value]);
    page = 0;
    draw();
  }

  function draw() {
    const pages = Math.max(1, Math.ceil(chosen.length / PER_PAGE));
    const shown = chosen.slice(page * PER_PAGE, (page + 1) * PER_PAGE);
    const all = data.scans.length.toLocaleString("en");
    at("count").textContent = `${chosen.length.toLocaleString("en")} of ${all} scans`;
    at("cards").replaceChildren(...shown.map(card));
    if (!shown.length) at("cards").append(text("p", "No scan is like that.", "nothing"));
    at("pages").hidden = pages === 1;
    at("page").textContent = `Page ${page + 1} of ${pages}`;
    at("previous").disabled = page === 0;
    at("next").disabled = page === pages - 1;
  }

  function turn(by) {
    page += by;
    draw();
    at("scans").scrollIntoView();
    at("cards").querySelector(".card")?.focus({preventScroll: true});
  }

  function text(tag, words, name = "") {
    const element = document.createElement(tag);
    element.textContent = words;
    element.className = name;
    return element;
  }

  function card(scan) {
    const made = at("card").content.cloneNode(true).firstElementChild;
    const find = name => made.querySelector(name);
    made.classList.toggle("outlier", scan.outlier);
    picture(find(".picture"), scan);
    find(".image").textContent = scan.image;
    find(".split").textContent = `${scan.cohort}, ${scan.split}`;
    find(".facts").textContent = scan.facts.join(" · ");
    find(".why").textContent = scan.outlier ? scan.why : "";
    data.measures.forEach((measure, i) => find(".values").append(
      text("dt", measure.short), strip(scan.zs[i]), text("dd", scan.shown[i])));
    exclusion(find(".exclude"), scan);
    return made;
  }

  function picture(button, scan) {
    const image = button.querySelector("img");
    if (!scan.picture) {
      button.replaceChildren(text("span", "Test scan, not opened", "closed"));
      button.disabled = true;
      return;
    }
    image.src = scan.picture;
    image.alt = `Axial slices of ${scan.image}, with the outline of the brain mask`;
    image.addEventListener("load", () => made_of(image), {once: true});
    button.addEventListener("click", () => zoom(chosen.indexOf(scan)));
  }

  function made_of(image) {  // frames of one shape: nothing jumps while pictures come in
    document.documentElement.style.setProperty("--shape", image.naturalWidth / image.naturalHeight);
  }

  function strip(z) {
    const line = text("dd", "", "strip");
    line.style.setProperty("--band", `${100 * data.limit / STRIP_Z}%`);
    if (z === null) return line;
    const dot = text("i", "", Math.abs(z) > data.limit ? "far" : "");
    dot.style.left = `${50 + 50 * Math.max(-1, Math.min(1, z / STRIP_Z))}%`;
    line.append(dot);
    line.title = `${z} robust sd from the cohort's median`;
    return line;
  }

  function exclusion(details, scan) {
    const reason = details.querySelector(".reason"), code = details.querySelector("code");
    const write = () => code.textContent = `${scan.exclude} --reason ${quoted(reason.value.trim() || "...")}`;
    details.querySelector("summary").setAttribute("aria-label", `Exclude ${scan.image}`);
    reason.addEventListener("input", write);
    details.addEventListener("toggle", () => details.open && reason.focus());
    write();
  }

  function quoted(words) {
    return `'${words.replaceAll("'", `'"'"'`)}'`;
  }

  function zoom(index) {
    const scan = chosen[index];
    if (!scan || !scan.picture) return;
    zoomed = index;
    at("zoom-title").textContent = `${scan.image} (${scan.cohort}, ${scan.split})`;
    at("zoom-why").textContent = scan.outlier ? scan.why : "";
    at("zoom-picture").src = scan.picture;
    at("zoom-picture").alt = `Axial slices of ${scan.image}`;
    if (!at("zoom").open) at("zoom").showModal();
  }

  function neighbour(by) {
    let index = zoomed + by;
    while (chosen[index] && !chosen[index].picture) index += by;
    zoom(index);
  }

  async function copy(button) {
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
      setTimeout(() => button.textContent = "Copy", 1500);
    } catch {  // a page from a file may have no clipboard: select it instead
      getSelection().selectAllChildren(code);
    }
  }

  at("controls").addEventListener("input", choose);
  at("controls").addEventListener("submit", event => event.preventDefault());
  at("previous").addEventListener("click", () => turn(-1));
  at("next").addEventListener("click", () => turn(1));
  at("close").addEventListener("click", () => at("zoom").close());
  document.addEventListener("click", event => {
    if (event.target.matches(".copy")) copy(event.target);
  });
  document.addEventListener("keydown", event => {
    if (at("zoom").open) {
      const by = {ArrowLeft: -1, ArrowRight: 1}[event.key];
      if (by) neighbour(by);
    } else if (event.key === "/" && !event.target.matches("input, select")) {
      event.preventDefault();
      at("search").focus();
    }
  });
  choose();
})();
