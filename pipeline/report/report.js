"use strict";
// Records lie in the page as packed blocks and are unpacked when they are shown. Whatever is in them is foreign: it is set as text, never as markup.

const PAGE = 48, PAIRS = 6, HELD = 24, RECORDS = 500, THUMBNAILS = 50, FIRST_CODE = 0x21, SOON_MS = 200;
const STATUSES = ["ok", "failed", "skipped", "unfinished"];
const FIELDS = {
  id: "Id", status: "Status", strategy: "Given by", model: "Model", size: "Size", quality: "Quality", key: "Key", attempts: "Attempts", usage: "Tokens",
  cost_usd: "Cost", saved_usd: "Saved", latency_s: "Latency", waited_s: "Waited", match: "Picture of", error: "Error", images: "Files",
};
const at = (id) => document.getElementById(id);
const count = (number) => number.toLocaleString("en");
let config, index, shown;

function make(tag, given = {}, ...inside) {
  const element = Object.assign(document.createElement(tag), given);
  element.append(...inside);
  return element;
}

async function unpack(name) {
  const packed = Uint8Array.from(atob(at(`data-${name}`).textContent), (character) => character.charCodeAt(0));
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

// The blocks that were used last stay unpacked.
function held(read) {
  const blocks = new Map();
  return (name) => {
    const block = blocks.get(name) ?? read(name);
    blocks.delete(name);
    blocks.set(name, block);
    if (blocks.size > HELD) blocks.delete(blocks.keys().next().value);
    return block;
  };
}

const unpacked = held(unpack);
const thumbnails = held((name) => JSON.parse(at(`data-${name}`).textContent));
const record = async (number) => (await unpacked(`records-${Math.floor(number / RECORDS)}`))[number % RECORDS];
const code = (number) => index.codes[index.all.charCodeAt(number) - FIRST_CODE];
const named = (name) => config.names[name] ?? name;
const url = (path) => config.root + path.split("/").map(encodeURIComponent).join("/");

function nothing(words) {
  return make("span", { className: "none", textContent: words });
}

function shot(entry) {
  const box = make("span", { className: "shot" });
  const [picture, ...more] = entry.images ?? [];
  if (!picture) {
    box.append(nothing(entry.error ? entry.error.kind.replaceAll("_", " ") : named(entry.status)));
  } else if (picture.seen) {
    box.append(nothing(picture.seen === "broken" ? "The picture cannot be read" : "The picture is missing"));
  } else {
    const image = make("img", { alt: "", loading: "embedded" in picture ? "eager" : "lazy", decoding: "async" });
    // A thumbnail that did not come along is no reason to show nothing.
    image.onerror = () => {
      image.onerror = () => image.replaceWith(nothing("The picture is not beside this page"));
      image.src = url(picture.path);
    };
    image.src = "embedded" in picture
      ? `data:image/webp;base64,${thumbnails(`thumbnails-${Math.floor(picture.embedded / THUMBNAILS)}`)[picture.embedded % THUMBNAILS]}`
      : url(picture.thumb);
    box.append(image);
  }
  if (more.length) box.append(make("span", { className: "more", textContent: `+${more.length}` }));
  return box;
}

function state(entry) {
  return entry.status === "ok" ? named(entry.strategy) : `${named(entry.status)}${entry.error ? `: ${entry.error.kind.replaceAll("_", " ")}` : ""}`;
}

// ---- pages of anything --------------------------------------------------------------------------------------------

class Pager {
  constructor(place, size, show) {
    Object.assign(this, { place, size, show, page: 0, numbers: [], turn: 0 });
  }

  async go(page, numbers = this.numbers) {
    this.numbers = numbers;
    this.pages = Math.max(1, Math.ceil(numbers.length / this.size));
    this.page = Math.min(Math.max(0, page || 0), this.pages - 1);
    const turn = ++this.turn;
    const some = numbers.slice(this.page * this.size, (this.page + 1) * this.size);
    const entries = await Promise.all(some.map(async (number) => [number, await record(number)]));
    if (turn !== this.turn) return; // somebody has gone on meanwhile
    this.show(entries);
    this.bar();
  }

  bar() {
    if (this.pages === 1) return this.place.replaceChildren();
    if (!this.place.firstChild) {
      this.back = make("button", { type: "button", textContent: "Previous page", onclick: () => this.go(this.page - 1) });
      this.on = make("button", { type: "button", textContent: "Next page", onclick: () => this.go(this.page + 1) });
      this.field = make("input", { type: "number", min: 1, onchange: () => this.go(Number(this.field.value) - 1) });
      this.of = make("span");
      this.place.append(this.back, make("label", {}, "Page ", this.field), this.of, this.on);
    }
    this.back.disabled = this.page === 0;
    this.on.disabled = this.page === this.pages - 1;
    Object.assign(this.field, { value: this.page + 1, max: this.pages });
    this.of.textContent = `of ${count(this.pages)}`;
  }
}

// ---- the gallery --------------------------------------------------------------------------------------------------

function card([number, entry]) {
  const words = make("span", { className: "words", dir: "auto", textContent: entry.prompt || entry.id });
  const button = make("button", { type: "button", className: "card", onclick: () => showRecord(number) }, shot(entry), words);
  button.append(make("span", { className: entry.status === "ok" ? "state" : "state bad", textContent: state(entry) }));
  button.dataset.number = number;
  return make("li", {}, button);
}

const gallery = new Pager(at("pager"), PAGE, (entries) => at("cards").replaceChildren(...entries.map(card)));

function options(select, codes) {
  const counts = new Map();
  for (let number = 0; number < index.all.length; number++) {
    const name = codes(number);
    if (name) counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  select.append(new Option(`All (${count(index.all.length)})`, ""));
  const order = [...counts.keys()].sort((one, other) => STATUSES.indexOf(one) - STATUSES.indexOf(other) || counts.get(other) - counts.get(one));
  for (const name of order) select.append(new Option(`${named(name)} (${count(counts.get(name))})`, name));
}

let searching = 0;

async function filter() {
  const search = ++searching, words = at("text").value.trim().toLowerCase(), found = [];
  const fits = index.codes.map(([status, strategy]) => [[at("status").value, status], [at("strategy").value, strategy]].every(([asked, is]) => !asked || asked === is));
  let told = performance.now();
  for (let number = 0; number < index.all.length; number++) {
    if (!fits[index.all.charCodeAt(number) - FIRST_CODE]) continue;
    if (words) {
      if (number % RECORDS === 0 && performance.now() - told > SOON_MS) {
        at("found").textContent = `Searching: ${count(number)} of ${count(index.all.length)}, ${count(found.length)} found`;
        told = performance.now();
        await new Promise((go) => setTimeout(go));
      }
      const entry = await record(number);
      if (search !== searching) return;
      if (!`${entry.prompt}\n${entry.id}`.toLowerCase().includes(words)) continue;
    }
    found.push(number);
  }
  at("found").textContent = found.length === index.all.length ? `${count(found.length)} prompts` : `${count(found.length)} of ${count(index.all.length)} prompts`;
  await gallery.go(0, found);
}

function soon(call) {
  let waiting;
  return () => {
    clearTimeout(waiting);
    waiting = setTimeout(call, SOON_MS);
  };
}

at("cards").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const cards = [...at("cards").querySelectorAll(".card")];
  const next = step && cards[cards.indexOf(document.activeElement) + step];
  if (next) {
    event.preventDefault();
    next.focus();
  }
});

// ---- one record ---------------------------------------------------------------------------------------------------

function pieces(texts) {
  return texts.map((text, number) => (number % 2 ? make("mark", { textContent: text }) : text));
}

function field(name, value) {
  if (name === "usage") return `${count(value.input_tokens)} in, ${count(value.output_tokens)} out`;
  if (name.endsWith("_usd")) return `$${value.toFixed(6)}`;
  if (name.endsWith("_s")) return `${value.toFixed(value < 10 ? 2 : 1)} s`;
  if (name === "status" || name === "strategy") return named(value);
  if (name === "error") return `${value.kind.replaceAll("_", " ")}${value.status ? ` (${value.status})` : ""}: ${value.message}`;
  if (name === "images") return value.map((each) => `${each.path} (${each.width} × ${each.height}, ${count(each.bytes)} bytes)`).join(", ");
  if (name === "match") return [...(value.known ? pieces(value.known) : []), ` (id ${value.of}, similarity ${value.similarity.toFixed(2)})`];
  return String(value);
}

function full(picture) {
  const image = make("img", { alt: "", decoding: "async" });
  image.onerror = () => image.replaceWith(nothing(`The picture is not at ${picture.path}, seen from this page`));
  image.src = url(picture.path);
  return make("a", { href: url(picture.path), target: "_blank", rel: "noreferrer", ariaLabel: "Open the full picture" }, image);
}

async function showRecord(number) {
  const entry = await record(number);
  shown = gallery.numbers.indexOf(number);
  at("record-title").textContent = entry.prompt || entry.id;
  const files = (entry.images ?? []).map((picture) => (picture.seen ? nothing(picture.seen === "broken" ? "The picture cannot be read" : "The picture is missing") : full(picture)));
  at("record-pictures").replaceChildren(...files);
  const known = Object.keys(FIELDS).filter((name) => name in entry && (name !== "images" || entry.images.length));
  at("record-fields").replaceChildren(...known.flatMap((name) => [make("dt", { textContent: FIELDS[name] }), make("dd", { dir: "auto" }, ...[field(name, entry[name])].flat())]));
  at("previous").disabled = shown <= 0;
  at("next").disabled = shown < 0 || shown >= gallery.numbers.length - 1;
  if (!at("record").open) at("record").showModal();
}

function step(by) {
  const number = gallery.numbers[shown + by];
  if (shown >= 0 && number !== undefined) showRecord(number);
}

at("previous").onclick = () => step(-1);
at("next").onclick = () => step(1);
at("close").onclick = () => at("record").close();
at("record").addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});
at("record").addEventListener("click", (event) => {
  if (event.target === at("record")) at("record").close();
});

// ---- pairs --------------------------------------------------------------------------------------------------------

function pair([number, entry]) {
  const { match } = entry;
  const sides = [["Asked for", match.asked ?? [entry.prompt]], ["Picture made for", match.known ?? [`the prompt with id ${match.of}`]]];
  const picture = make("button", { type: "button", className: "card", ariaLabel: `Record of: ${entry.prompt}`, onclick: () => showRecord(number) }, shot(entry));
  const said = sides.map(([title, texts]) => make("p", { className: "side", dir: "auto" }, make("b", { textContent: title }), ...pieces(texts)));
  const tail = `similarity ${match.similarity.toFixed(2)} · ${named(entry.strategy)} · id ${entry.id}`;
  return make("li", { className: "pair" }, picture, ...said, make("p", { className: "tail", textContent: tail }));
}

async function start() {
  if (!("DecompressionStream" in window)) {
    at("found").textContent = "This browser is too old to show the gallery.";
    return;
  }
  [config, index] = await Promise.all([unpack("config"), unpack("index")]);
  options(at("status"), (number) => code(number)[0]);
  options(at("strategy"), (number) => code(number)[1]);
  at("filter").hidden = false;
  at("filter").onsubmit = (event) => event.preventDefault();
  at("status").onchange = at("strategy").onchange = filter;
  at("text").oninput = soon(filter);
  if (index.pairs.length && at("pairs")) {
    at("pairs").hidden = false;
    await new Pager(at("pair-pager"), PAIRS, (entries) => at("pair-list").replaceChildren(...entries.map(pair))).go(0, index.pairs);
  }
  await filter();
}

start();
