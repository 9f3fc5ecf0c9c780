// The page at /docs: reads openapi.json, shows what is exposed, calls it, follows it. No library, no build, no network
// but the API itself. Text from outside becomes text nodes only.

const METHODS = ["get", "query", "x-query", "post", "put", "patch", "delete"];
const LINES_MAX = 500; // of a feed that is shown
const BODY_CHARACTERS_MAX = 200_000; // of an answer that is shown
const DEPTH_MAX = 4; // of a type that is written out
const OPTIONAL_MAX = 3; // parameters that may be left out and still stand in the open

const byId = (id) => document.getElementById(id);

/** An element: attributes, listeners (`onclick`) and children, of which text stays text. */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in { value: 1, checked: 1 }) element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false && child !== ""));
  return element;
}

// ---- the document

let api;

function resolved(node) {
  for (let hops = 0; node?.$ref && hops < 20; hops += 1) {
    node = node.$ref.slice(2).split("/").reduce((found, part) => found?.[part.replaceAll("~1", "/").replaceAll("~0", "~")], api);
  }
  return node ?? {};
}

const nameOf = (schema) => schema?.$ref?.split("/").pop();

/** A type in a few words: `string`, `Order[]`, `"new" | "paid"`. */
function typeText(schema, depth = 0) {
  if (schema === true || schema === undefined) return "any";
  if (nameOf(schema)) return nameOf(schema);
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" | ");
  const several = schema.anyOf ?? schema.oneOf;
  if (several) return several.map((one) => typeText(one, depth + 1)).join(" | ");
  if (depth > DEPTH_MAX) return "…";
  const types = [schema.type ?? []].flat();
  if (types.includes("array")) {
    const items = typeText(schema.items, depth + 1);
    return items.includes(" ") ? `(${items})[]` : `${items}[]`;
  }
  if (types.includes("object")) {
    return schema.additionalProperties ? `{key: ${typeText(schema.additionalProperties, depth + 1)}}` : "object";
  }
  return [types.join(" | ") || "any", schema.format && `(${schema.format})`, boundsText(schema)].filter(Boolean).join(" ");
}

function boundsText(schema) {
  const told = { minimum: "≥", exclusiveMinimum: ">", maximum: "≤", exclusiveMaximum: "<" };
  const bounds = Object.entries(told).filter(([name]) => name in schema).map(([name, sign]) => `${sign} ${schema[name]}`);
  if ("maxLength" in schema) bounds.push(`at most ${schema.maxLength} characters`);
  if (schema.pattern) bounds.push(`like ${schema.pattern}`);
  return bounds.join(", ");
}

function operationsOf(document) {
  const found = [];
  for (const [path, entry] of Object.entries(document.paths ?? {})) {
    for (const method of METHODS.filter((one) => entry[one])) {
      const operation = entry[method];
      const parameters = [...(entry.parameters ?? []), ...(operation.parameters ?? [])].map(resolved);
      found.push({ ...operation, path, method: method.replace("x-", ""), parameters, id: operation.operationId ?? `${method}_${path}` });
    }
  }
  return found;
}

/** The shape of a body or a field: of several that are possible the first with fields. */
function shapeOf(schema) {
  const shape = resolved(schema);
  return (shape.anyOf ?? shape.oneOf ?? []).map(resolved).find((one) => one.properties) ?? shape;
}

const contentOf = (answer) => resolved(answer).content ?? {};
const isLive = (operation) => operation.method === "get" && "text/event-stream" in contentOf(operation.responses?.["200"]);
// Where this page stands, and not what `servers` says: a proxy may have taken a part of the path away.
const base = () => new URL(".", location.href).href.replace(/\/$/, "");

// ---- what is shown

function fieldsTable(schema) {
  const shape = shapeOf(schema);
  const properties = Object.entries(shape.properties ?? {});
  if (!properties.length) return h("p", { class: "type" }, typeText(schema));
  const required = new Set(shape.required ?? []);
  const several = shape === resolved(schema) ? undefined : h("p", { class: "type" }, typeText(resolved(schema)));
  return h("div", {}, several, h("table", { class: "fields" }, h("tbody", {}, properties.map(([name, part]) => fieldRow(name, part, required.has(name))))));
}

function fieldRow(name, schema, must) {
  const inner = innerOf(schema);
  const said = [schema.description, "default" in schema && `Default: ${JSON.stringify(schema.default)}.`, schema.deprecated && "Deprecated."];
  return h("tr", {},
    h("td", {}, h("span", { class: must && "must", title: must && "required" }, name, must && h("span", { class: "hidden" }, " required"))),
    h("td", {}, h("div", { class: "type" }, typeText(schema)), h("div", { class: "quiet" }, said.filter(Boolean).join(" ")),
      inner && lazyDetails(`Fields of ${nameOf(inner)}`, () => fieldsTable(inner))));
}

/** The model that a field holds, if any: one, one of several, or in a list. */
function innerOf(schema) {
  const found = [schema, schema?.items, schema?.additionalProperties, ...(schema?.anyOf ?? []), ...(schema?.oneOf ?? [])].find(nameOf);
  return found && resolved(found).properties ? found : undefined;
}

/** Details whose inside is made when they are opened first, so that types may refer to themselves. */
function lazyDetails(title, make) {
  const details = h("details", { ontoggle: () => details.open && details.childElementCount === 1 && details.append(make()) },
    h("summary", { class: "quiet" }, title));
  return details;
}

function answersOf(operation) {
  return Object.entries(operation.responses ?? {}).map(([status, answer]) => {
    const told = resolved(answer);
    const [type, content] = Object.entries(told.content ?? {})[0] ?? [];
    const title = `${status === "default" ? "else" : status}  ${told.description ?? ""}${type ? `  ${type}` : ""}`;
    return content?.schema ? lazyDetails(title, () => fieldsTable(content.schema)) : h("p", { class: "quiet" }, title);
  });
}

function operationView(operation) {
  const summary = h("summary", {},
    h("span", { class: `method ${operation.method}` }, operation.method.toUpperCase()),
    h("span", { class: "path" }, operation.path),
    h("span", { class: "quiet" }, operation.summary ?? ""),
    isLive(operation) && h("span", { class: "tag" }, "live"),
    operation.security && h("span", { class: "tag" }, "token"),
    operation.deprecated && h("span", { class: "tag" }, "deprecated"));
  const details = h("details", { class: operation.deprecated ? "op old" : "op", id: operation.id, ontoggle: () => {
    if (details.open && details.childElementCount === 1) details.append(insideOf(operation));
  } }, summary);
  return details;
}

function insideOf(operation) {
  const body = resolved(operation.requestBody).content ?? {};
  const [type, content] = Object.entries(body)[0] ?? [];
  const left = h("div", {}, operation.description && h("p", { class: "said" }, operation.description));
  if (operation.parameters.length) {
    const rows = operation.parameters.map((one) => fieldRow(one.name, { description: one.description, deprecated: one.deprecated, ...one.schema }, one.required));
    left.append(h("h3", {}, "Parameters"), h("table", { class: "fields" }, h("tbody", {}, rows)));
  }
  if (content) left.append(h("h3", {}, `Body  ${type}`), fieldsTable(content.schema ?? {}));
  left.append(h("h3", {}, "Answers"), ...answersOf(operation));
  return h("div", { class: "inside" }, left, tryView(operation, body));
}

// ---- the form

/** An input for a value of a schema; `read` gives the value, or undefined where it is left out. */
function inputFor(name, schema, { required, start, text }) {
  const shape = resolved(schema);
  const types = [shape.type ?? (shape.anyOf ?? []).map((one) => resolved(one).type)].flat().filter((one) => one !== "null");
  const id = `f${(inputFor.count = (inputFor.count ?? 0) + 1)}`;
  const wrong = h("span", { class: "wrong", id: `${id}w`, role: "alert" });
  const given = start === undefined || start === null ? "" : typeof start === "string" ? start : JSON.stringify(start, null, 1);
  const marks = { id, name, "aria-describedby": `${id}w`, "aria-required": required ? "true" : undefined };
  const choices = shape.enum ?? (types.length === 1 && types[0] === "boolean" ? [true, false] : undefined);
  const simple = text || (types.length === 1 && ["string", "integer", "number"].includes(types[0]));
  let input;
  if (choices) {
    const options = choices.map((one) => h("option", { value: JSON.stringify(one), selected: one === start }, String(one)));
    input = h("select", marks, !required && h("option", { value: "" }, "—"), options);
    input.value = start === undefined ? (required ? JSON.stringify(choices[0]) : "") : JSON.stringify(start);
  } else if (simple) {
    const numeric = types.includes("integer") || types.includes("number");
    input = h("input", { ...marks, type: "text", inputmode: numeric && "decimal", value: given, autocomplete: "off", spellcheck: "false" });
  } else {
    input = h("textarea", { ...marks, rows: 3, spellcheck: "false", value: start === undefined ? "" : JSON.stringify(start, null, 1) });
  }
  const read = () => {
    input.removeAttribute("aria-invalid");
    wrong.textContent = "";
    try {
      return valueOf(input.value, { choices, simple, types, required, text });
    } catch (error) {
      input.setAttribute("aria-invalid", "true");
      wrong.textContent = error.message;
      input.focus();
      throw error;
    }
  };
  const view = h("div", { class: "field" }, h("label", { for: id, class: required && "must" }, name), input, wrong);
  return { view, read, name };
}

function valueOf(text, { choices, simple, types, required, text: plain }) {
  if (choices) return text === "" ? undefined : JSON.parse(text);
  // An empty text is a value in a body, and nothing in a path or a query.
  if (text === "" && (plain || !required || !types.includes("string"))) {
    if (required) throw new Error("expected a value");
    return undefined;
  }
  if (simple && (plain || types.includes("string"))) return text;
  try {
    return JSON.parse(text);
  } catch {
    // A number that is none goes as text: the server says best what it expects.
    if (simple) return text;
    throw new Error("expected JSON");
  }
}

/** The form of a body: a field each, or the whole as JSON. */
function bodyForm(content) {
  const schema = content?.schema ?? {};
  const shape = shapeOf(schema);
  const example = content?.example ?? {};
  const required = new Set(shape.required ?? []);
  const fields = Object.entries(shape.properties ?? {})
    .filter(([name, part]) => name in example || (!part.readOnly && !["id", "rev"].includes(name)))
    .map(([name, part]) => inputFor(name, part, { required: required.has(name), start: example[name] }));
  const whole = inputFor("body", {}, { required: true, start: example });
  const asJson = h("input", { type: "checkbox", checked: !fields.length, disabled: !fields.length });
  asJson.style.width = "auto";
  const holder = h("div", {});
  const collect = () => Object.fromEntries(fields.map((one) => [one.name, one.read()]).filter(([, value]) => value !== undefined));
  const show = () => holder.replaceChildren(...(asJson.checked ? [whole.view] : fields.map((one) => one.view)));
  asJson.addEventListener("change", () => {
    const input = whole.view.querySelector("textarea");
    try {
      if (asJson.checked) input.value = JSON.stringify(collect(), null, 1);
      show();
    } catch { asJson.checked = false; }
  });
  show();
  const view = h("div", {}, h("h3", {}, "Body"), fields.length ? h("label", { class: "quiet" }, asJson, " as JSON") : "", holder);
  return { view, read: () => (asJson.checked ? whole.read() : collect()) };
}

function tryView(operation, body) {
  const parameters = operation.parameters.filter((one) => ["path", "query", "header"].includes(one.in)).map((one) => ({
    ...inputFor(one.name, one.schema ?? {}, { required: one.required, start: one.example, text: [one.schema?.type].flat().some((type) => ["string", "integer", "number"].includes(type)) }),
    where: one.in,
    must: one.required,
  }));
  const needed = parameters.filter((one) => one.must);
  const spare = parameters.filter((one) => !one.must);
  const rest = spare.length > OPTIONAL_MAX
    ? h("details", {}, h("summary", { class: "quiet" }, `${spare.length} parameters that may be left out`), spare.map((one) => one.view))
    : spare.map((one) => one.view);
  const types = Object.keys(body);
  const kind = h("select", { "aria-label": "Type of the body" }, types.map((type) => h("option", {}, type)));
  let form = types.length ? bodyForm(body[types[0]]) : undefined;
  const place = h("div", {}, form?.view ?? "");
  kind.addEventListener("change", () => { form = bodyForm(body[kind.value]); place.replaceChildren(form.view); });
  const out = h("div", { class: "out", "aria-live": "polite" });
  const stop = h("button", { type: "button", disabled: true }, "Stop");
  let running;
  const run = async (live) => {
    running?.abort();
    running = new AbortController();
    const mine = running;
    stop.disabled = false;
    try {
      await perform(requestOf(operation, parameters, form, kind.value, live), out, mine.signal);
    } catch (error) {
      if (error.name !== "AbortError") out.replaceChildren(h("p", { class: "s0" }, error.message));
    }
    if (mine === running) stop.disabled = true;
  };
  stop.addEventListener("click", () => { running?.abort(); stop.disabled = true; });
  const box = h("form", { "aria-label": `Call ${operation.id}`, onsubmit: (event) => { event.preventDefault(); run(false); } },
    h("h3", {}, "Try it"), needed.map((one) => one.view), types.length > 1 ? kind : "", place, rest,
    h("div", { class: "row" }, h("button", { class: "main", type: "submit" }, "Send"),
      isLive(operation) && h("button", { type: "button", class: "follow", onclick: () => run(true) }, "Follow live"), stop),
    out);
  return h("div", {}, box);
}

// ---- calling

function requestOf(operation, parameters, form, type, live) {
  let path = operation.path;
  const query = new URLSearchParams();
  const headers = {};
  for (const one of parameters) {
    const value = one.read();
    if (value === undefined) continue;
    if (one.where === "path") path = path.replace(`{${one.name}}`, encodeURIComponent(value));
    else if (one.where === "header") headers[one.name] = String(value);
    else for (const item of [value].flat()) query.append(one.name, typeof item === "string" ? item : JSON.stringify(item));
  }
  const body = form && JSON.stringify(form.read());
  if (body) headers["Content-Type"] = type;
  const types = Object.keys(contentOf(operation.responses?.["200"]));
  const usual = ["application/json", "application/jsonl"].find((one) => types.includes(one));
  headers.Accept = live ? "text/event-stream" : usual ?? types[0] ?? "application/json";
  const text = query.toString();
  return { method: operation.method.toUpperCase(), url: `${base()}${path}${text && `?${text}`}`, headers, body, path: operation.path };
}

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

function curlOf({ method, url, headers, body }) {
  const parts = ["curl", "-X", method, quoted(url)];
  for (const [name, value] of Object.entries(headers)) parts.push("-H", quoted(`${name}: ${value}`));
  // The token stays out of what is copied.
  if (tokenBox.value) parts.push("-H", '"Authorization: Bearer $TOKEN"');
  if (headers.Accept === "text/event-stream") parts.splice(1, 0, "-N");
  if (body) parts.push("-d", quoted(body));
  return parts.join(" ");
}

function hanseOf({ path, body }) {
  const found = /^\/rpc\/([^/{}]+)\/([^/{}]+)$/.exec(path);
  return found && `hanse call --url ${quoted(base())} ${found[1]}.${found[2]} ${quoted(body ?? "{}")}`;
}

async function perform(request, out, signal) {
  const { method, url, headers, body } = request;
  const lines = [curlOf(request), hanseOf(request)].filter(Boolean).map(copyable);
  const sent = tokenBox.value ? { ...headers, Authorization: `Bearer ${tokenBox.value}` } : headers;
  const begun = performance.now();
  out.replaceChildren(...lines, h("p", { class: "quiet" }, "Waiting …"));
  let answer;
  try {
    answer = await fetch(url, { method, headers: sent, body, signal, cache: "no-store", credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(`No answer: ${error.message}. Is the server running, and may this page reach it?`);
  }
  const took = `${Math.round(performance.now() - begun)} ms`;
  const status = h("p", {}, h("span", { class: `status s${String(answer.status)[0]}` }, `${answer.status} ${answer.statusText}`), ` ${took}`);
  const told = lazyDetails("Headers", () => h("pre", { tabindex: 0 }, [...answer.headers].map((pair) => pair.join(": ")).join("\n")));
  out.replaceChildren(...lines, status, told);
  const type = answer.headers.get("content-type") ?? "";
  if (type.includes("event-stream") || type.includes("jsonl")) await follow(answer, type, out);
  else out.append(h("pre", { class: "body", tabindex: 0, "aria-label": "Body" }, pretty(await answer.text(), type)));
}

function pretty(text, type) {
  if (text.length > BODY_CHARACTERS_MAX) return `${text.slice(0, BODY_CHARACTERS_MAX)}\n… ${text.length} characters in all`;
  if (!type.includes("json")) return text;
  try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; }
}

function copyable(text) {
  const button = h("button", { type: "button", onclick: async () => {
    try { await navigator.clipboard.writeText(text); button.textContent = "Copied"; } catch { button.textContent = "Select it"; }
  } }, "Copy");
  return h("div", { class: "copy" }, h("pre", { tabindex: 0 }, text), button);
}

/** Show a stream as it comes: events, or JSON Lines. */
async function follow(answer, type, out) {
  const list = h("ul", { class: "feed", role: "log", "aria-label": "What comes", tabindex: 0 });
  out.append(list);
  const add = (name, text) => {
    list.prepend(h("li", { class: name }, h("b", {}, name), h("span", {}, text)));
    while (list.childElementCount > LINES_MAX) list.lastElementChild.remove();
  };
  const events = type.includes("event-stream");
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const pieces = (rest + value).split(events ? /\r?\n\r?\n/ : "\n");
      rest = pieces.pop();
      for (const piece of pieces) if (piece) events ? addEvent(piece, add) : add("item", piece);
    }
    add("end", "The stream has ended.");
  } catch (error) {
    if (error.name !== "AbortError") add("fault", `The stream broke: ${error.message}`);
    else add("end", "Stopped.");
  }
}

function addEvent(text, add) {
  let name = "message";
  const data = [];
  for (const line of text.split(/\r?\n/)) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
  }
  if (!data.length) return; // a sign of life
  try {
    const { key, rev, value } = JSON.parse(data.join("\n"));
    add(name, key === undefined ? data.join("\n") : `${key} @${rev} ${JSON.stringify(value)}`);
  } catch { add(name, data.join("\n")); }
}

// ---- the page

const tokenBox = byId("token");
const TOKEN = "hanse-docs-token";

function keepToken() {
  tokenBox.value = sessionStorage.getItem(TOKEN) ?? "";
  const show = () => byId("token-box").classList.toggle("set", tokenBox.value !== "");
  tokenBox.addEventListener("input", () => { sessionStorage.setItem(TOKEN, tokenBox.value); show(); });
  byId("token-form").addEventListener("submit", (event) => { event.preventDefault(); byId("token-box").open = false; });
  byId("forget").addEventListener("click", () => { tokenBox.value = ""; sessionStorage.removeItem(TOKEN); show(); });
  show();
}

function keepTheme() {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const names = { "": "as the system", light: "light", dark: "dark" };
  const button = byId("theme");
  let chosen = localStorage.getItem("hanse-docs-theme") ?? "";
  const show = () => {
    document.documentElement.dataset.theme = chosen || (system.matches ? "dark" : "light");
    button.setAttribute("aria-label", `Colours: ${names[chosen] ?? chosen}`);
    button.textContent = { light: "☀", dark: "☾" }[chosen] ?? "◐";
  };
  system.addEventListener("change", show);
  button.addEventListener("click", () => {
    chosen = { "": "dark", dark: "light", light: "" }[chosen] ?? "";
    localStorage.setItem("hanse-docs-theme", chosen);
    show();
  });
  show();
}

function showAll(operations) {
  const said = new Map((api.tags ?? []).map((tag) => [tag.name, tag.description]));
  const groups = new Map([...said.keys()].map((name) => [name, []]));
  for (const one of operations) {
    const tag = one.tags?.[0] ?? "other";
    if (!groups.has(tag)) groups.set(tag, []);
    groups.get(tag).push(one);
  }
  for (const [name, members] of groups) {
    if (!members.length) continue;
    const links = members.map((one) => h("li", { "data-for": one.id }, h("a", { href: `#${encodeURIComponent(one.id)}`, title: one.path },
      h("span", { class: `method ${one.method}` }, one.method.toUpperCase()), h("span", {}, one.summary || one.path))));
    byId("nav").append(h("div", {}, h("strong", {}, name), h("ul", {}, links)));
    byId("main").append(h("section", { "aria-label": name }, h("h2", {}, name), said.get(name) && h("p", { class: "quiet" }, said.get(name)),
      members.map(operationView)));
  }
}

function search(operations) {
  const words = byId("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const one of operations) {
    const text = `${one.method} ${one.path} ${one.id} ${one.summary ?? ""} ${one.description ?? ""}`.toLowerCase();
    const hit = words.every((word) => text.includes(word));
    count += hit;
    byId(one.id).hidden = !hit;
    document.querySelector(`[data-for="${CSS.escape(one.id)}"]`).hidden = !hit;
  }
  for (const part of document.querySelectorAll("main section")) part.hidden = !part.querySelector(".op:not([hidden])");
  for (const part of document.querySelectorAll("nav > div")) part.hidden = !part.querySelector("li:not([hidden])");
  byId("found").textContent = words.length ? `${count} found` : "";
}

function openFromHash() {
  const wanted = byId(decodeURIComponent(location.hash.slice(1)));
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === location.hash) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  if (!wanted?.classList.contains("op")) return;
  wanted.open = true;
  wanted.scrollIntoView();
  wanted.querySelector("summary").focus({ preventScroll: true });
}

async function start() {
  keepTheme();
  keepToken();
  const sent = tokenBox.value ? { Authorization: `Bearer ${tokenBox.value}` } : {};
  const answer = await fetch("openapi.json", { headers: sent });
  if (!answer.ok) throw new Error(`openapi.json answered ${answer.status}${answer.status === 401 ? ": set a token above, then load again" : ""}`);
  api = await answer.json();
  document.title = `${api.info.title}: API`;
  byId("title").textContent = api.info.title;
  byId("version").textContent = api.info.version;
  byId("about").textContent = api.info.description ?? "";
  const operations = operationsOf(api);
  showAll(operations);
  byId("loading").remove();
  byId("find").addEventListener("input", () => search(operations));
  addEventListener("hashchange", openFromHash);
  addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target.closest("input, textarea, select")) return;
    event.preventDefault();
    byId("find").focus();
  });
  openFromHash();
}

start().catch((error) => { byId("loading").textContent = `Could not load: ${error.message}`; });
