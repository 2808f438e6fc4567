// One address, one listener. Every control carries data-go (change the address), data-act (do
// something) or data-param (a form control that writes one key of the address); the hidden
// #wb-address component sends the whole address to Python and gets the normalised one back.
(() => {
  "use strict";
  const wb = (window.workbench = { view: {}, n: 0, ready: false });
  let fire = null, timer = null, plotly = null;

  // One question at a time, so that no late answer is drawn over a newer one. What is asked for
  // meanwhile waits: changes of the address become one question, actions keep their order.
  const PATIENCE = 15000;                          // ms; then the answer is lost and the next question goes out
  let asking = 0, since = 0, retry = null;
  const changes = new Set(), actions = [];
  const ask = () => {
    if (asking && Date.now() - since < PATIENCE) return;
    const args = actions.shift();
    if (!args && !changes.size) return;
    const changed = [...changes];
    changes.clear();                               // an action is answered with the whole page
    asking = wb.n; since = Date.now();
    clearTimeout(retry); retry = setTimeout(ask, PATIENCE);
    if (args) fire("act", { view: wb.view, args, n: wb.n });
    else fire("go", { view: wb.view, changed, n: wb.n });
  };
  const clean = (view) => Object.fromEntries(
    Object.entries(view).filter(([k, v]) => v !== null && v !== undefined && v !== "" && k[0] !== "_"));
  const href = (view) => {
    const query = new URLSearchParams(clean(view)).toString();
    return location.pathname + (query ? "?" + query : "");
  };
  const keep = (extra) => {                       // parameters of the server itself, such as __theme
    const own = new URLSearchParams(location.search);
    for (const [k, v] of own) if (k.startsWith("__")) extra.set(k, v);
    return extra;
  };
  const write = (view, replace) => {
    const query = keep(new URLSearchParams(clean(view))).toString();
    const url = location.pathname + (query ? "?" + query : "");
    if (url !== location.pathname + location.search) history[replace ? "replaceState" : "pushState"](null, "", url);
  };
  const read = () => Object.fromEntries([...new URLSearchParams(location.search)].filter(([k]) => !k.startsWith("__")));

  wb.go = (patch, options = {}) => {
    if (!wb.ready) return;
    const before = wb.view, next = clean({ ...before, ...patch });
    const changed = Object.keys({ ...before, ...next }).filter((k) => before[k] !== next[k]);
    if (!changed.length && !options.force) return;
    wb.view = next;
    wb.n += 1;
    write(next, options.replace);
    for (const key of changed) changes.add(key);
    if (!changed.length) changes.add("*");
    ask();
  };
  // A question of our own: resolves to the text, true, or null when it was called off.
  const question = (text, value) => new Promise((resolve) => {
    const box = document.createElement("dialog"), form = document.createElement("form");
    box.className = "wb-dialog"; form.method = "dialog";
    const label = document.createElement("label"), bar = document.createElement("div");
    label.textContent = text; bar.className = "wb-bar";
    const field = value === undefined ? null : document.createElement(value.length > 60 || text.startsWith("Note") ? "textarea" : "input");
    if (field) { field.value = value; field.setAttribute("aria-label", text); label.append(field); }
    for (const [name, answer] of [["Cancel", ""], [field ? "OK" : text.split(" ")[0], "yes"]]) {
      const button = document.createElement("button");
      button.textContent = name; button.value = answer; button.className = "wb-button" + (answer ? field ? " primary" : " danger" : "");
      if (!answer) button.type = "button";
      button.onclick = () => { if (!answer) box.close(""); };
      bar.append(button);
    }
    form.append(label, bar); box.append(form);
    box.addEventListener("close", () => { box.remove(); resolve(box.returnValue === "yes" ? field ? field.value : true : null); });
    document.querySelector(".gradio-container").append(box);
    box.showModal(); field?.select();
  });
  wb.act = async (args, origin) => {
    if (!wb.ready || (origin && origin.disabled)) return;
    if (args.confirm && !(await question(args.confirm))) return;
    const form = origin?.hasAttribute("data-with") && origin.closest("[data-form]");
    if (form) args = { ...args, values: Object.fromEntries([...form.querySelectorAll("[name]")].map((c) => [c.name, value(c)])) };
    if (args.ask) {
      const answer = await question(args.ask, args.value ?? "");
      if (answer === null) return;
      args = { ...args, value: answer };
    }
    if (origin && origin.tagName === "BUTTON") { origin.disabled = true; setTimeout(() => { origin.disabled = false; }, 1500); }
    wb.n += 1;
    actions.push(args);
    ask();
  };
  wb.toast = (text, bad) => {
    let box = document.querySelector(".wb-toast");
    if (!box) { box = document.createElement("div"); box.className = "wb-toast"; box.setAttribute("role", "status"); document.body.append(box); }
    box.textContent = text; box.classList.toggle("bad", !!bad); box.classList.add("on");
    clearTimeout(box.timer); box.timer = setTimeout(() => box.classList.remove("on"), bad ? 7000 : 2600);
  };

  // The hidden component: Python's answer arrives as props.value = {view, n, toast}.
  wb.address = (trigger, props, watch, server) => {
    fire = trigger;
    wb.save = async (kind) => {
      const file = await server.save({ view: wb.view, kind });
      if (file.problem) { wb.toast(file.problem, true); return; }
      const bytes = Uint8Array.from(atob(file.data), (c) => c.charCodeAt(0));
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([bytes])); link.download = file.name; link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    };
    wb.text = (args) => server.text({ view: wb.view, args });
    wb.upload = async (input) => {                 // in parts, so that no request is large
      const file = input.files[0], size = 1 << 20;
      if (!file) return;
      const token = [...crypto.getRandomValues(new Uint8Array(12))].map((b) => b.toString(16).padStart(2, "0")).join("");
      for (let offset = 0; ; offset += size) {
        const part = new Uint8Array(await file.slice(offset, offset + size).arrayBuffer());
        const data = btoa(Array.from(part, (b) => String.fromCharCode(b)).join(""));
        const last = offset + size >= file.size;
        wb.toast(last ? `Reading ${file.name}` : `Sending ${file.name}: ${Math.round((100 * offset) / file.size)} %`);
        const answer = await server.upload({ token, name: file.name, offset, data, last });
        if (answer.problem) { wb.toast(answer.problem, true); break; }
        if (answer.path) { assign({ "task.name": "file", "task.path": answer.path }); wb.toast(`${file.name} is on the form`); break; }
      }
      input.value = "";
    };
    watch("value", () => {
      const answer = props.value || {};
      if (answer.toast) wb.toast(answer.toast, answer.bad);
      if (answer.n >= asking) asking = 0;
      if (answer.n === wb.n) {
        wb.view = clean(answer.view || {});
        write(wb.view, true);
        for (const path of drafts.keys()) if (!typing.has(path)) drafts.delete(path);
      }
      settle();
      ask();
    });
    wb.view = clean(read());
    wb.ready = true;
    wb.n += 1;
    changes.add("*");
    ask();
  };
  window.addEventListener("popstate", () => {
    wb.view = clean(read()); wb.n += 1;
    changes.add("*");
    ask();
  });

  // What is typed and not yet answered, by key of the form: an older answer never overwrites it.
  const drafts = new Map(), typing = new Map();

  // After Gradio has patched the DOM: form controls follow their attributes, the selection is in sight.
  const folds = new Map();                         // what a person opened or closed stays so when its page is drawn anew
  const foldKey = (details) => details.dataset.section || details.dataset.keep;
  const unfold = (fold) => {
    const wanted = folds.get(foldKey(fold));
    if (wanted !== undefined && fold.open !== wanted && !fold.querySelector(".wb-error")) fold.open = wanted;
  };
  // Gradio's patch closes a fold that the server draws closed; opened again before the next frame,
  // the field in it keeps the focus.
  new MutationObserver((changes) => { for (const { target } of changes) if (foldKey(target)) unfold(target); })
    .observe(document, { subtree: true, attributes: true, attributeFilter: ["open"] });
  const settle = () => { setTimeout(tidy, 0); setTimeout(tidy, 80); };
  const tidy = () => {
    for (const s of document.querySelectorAll(".wb-page select")) {
      const chosen = s.querySelector("option[selected]");
      if (chosen && s !== document.activeElement && s.value !== chosen.value) s.value = chosen.value;
    }
    for (const c of document.querySelectorAll(".wb-page input[type=checkbox], .wb-page input[type=radio]"))
      c.checked = c.hasAttribute("checked");
    for (const c of document.querySelectorAll(".wb-page [data-value]")) {
      const text = drafts.get(c.dataset.set) ?? c.dataset.value;
      if (c !== document.activeElement && c.value !== text) c.value = text;
    }
    document.querySelectorAll("details[data-section], details[data-keep]").forEach(unfold);
    for (const button of document.querySelectorAll("[data-open]")) {
      const html = opened.get(place(button.dataset.open));
      if (html !== undefined) spread(button, textOf(button), html);
    }
    for (const log of document.querySelectorAll(".wb-log[data-tail]"))
      if (log.scrollTop + log.clientHeight > log.dataset.seen - 40 || !log.dataset.seen) { log.scrollTop = log.scrollHeight; log.dataset.seen = log.scrollHeight; }
  };
  wb.settle = settle;

  // Long texts: folded to a few lines, opened on demand. What a person opened stays open when its
  // page is drawn anew; a text that was sent in part is fetched whole, as markup that Python escaped.
  const opened = new Map();                        // what and where -> markup of the whole, "" where all is there
  const place = (of) => JSON.stringify([of, ...["tab", "run", "prompt", "step", "gsplit", "shade", "special", "q"].map((k) => wb.view[k] ?? "")]);
  const spread = (button, box, html) => {
    if (html && box.dataset.whole !== html.length + "") { box.dataset.first ??= box.innerHTML; box.innerHTML = html; box.dataset.whole = html.length; }
    box.hidden = false; box.classList.add("open"); button.classList.add("open");
    button.dataset.label ??= button.textContent; button.textContent = "show less";
  };
  const fold = (button, box) => {
    if (box.dataset.first !== undefined) { box.innerHTML = box.dataset.first; delete box.dataset.whole; }
    if (box.classList.contains("wb-thought")) box.hidden = true;
    box.classList.remove("open"); button.classList.remove("open");
    if (button.dataset.label) button.textContent = button.dataset.label;
  };
  const textOf = (button) => button.closest("tr, .wb-vote-line, .wb-vote").querySelector(`[data-text="${CSS.escape(button.dataset.open)}"]`);
  const openText = async (button) => {
    const of = button.dataset.open, box = textOf(button), key = place(of);
    if (opened.has(key)) { opened.delete(key); fold(button, box); return; }
    let html = "";
    if (box.dataset.part !== undefined || box.classList.contains("wb-thought")) {
      const answer = await wb.text({ of, group: button.dataset.groupId });
      if (answer.problem) { wb.toast(answer.problem, true); return; }
      html = answer.html;
    }
    opened.set(key, html); spread(button, box, html);
  };

  document.addEventListener("click", (event) => {
    const fold = event.target.closest("summary")?.parentElement;
    if (fold && foldKey(fold)) folds.set(foldKey(fold), !fold.open);
    const tab = event.target.closest("#wb-tabs [role=tab]");
    if (tab) { wb.go({ tab: tab.textContent.trim().toLowerCase() }); return; }
    const more = event.target.closest("[data-open]");
    if (more) { openText(more); return; }
    const copy = event.target.closest("[data-copy]");
    if (copy) { navigator.clipboard?.writeText(copy.dataset.copy || location.href); wb.toast("Copied"); return; }
    const out = event.target.closest("[data-export]");
    if (out) { wb.save(out.dataset.export); return; }
    const doer = event.target.closest("[data-act]");
    if (doer) { event.preventDefault(); wb.act(JSON.parse(doer.dataset.act), doer); return; }
    const goer = event.target.closest("[data-go]");
    if (goer) {
      const inner = event.target.closest("a, button, input, select, label, textarea, summary");
      if (inner && inner !== goer && goer.contains(inner)) return;
      if (event.metaKey || event.ctrlKey) { window.open(href({ ...wb.view, ...JSON.parse(goer.dataset.go) })); return; }
      event.preventDefault();
      mark(goer);
      wb.go(JSON.parse(goer.dataset.go));
    }
  });
  const mark = (element) => {                      // show the choice at once, the answer follows
    if (!element.matches(".wb-prompt, tr[data-go]")) return;
    for (const other of element.parentElement.querySelectorAll(".sel")) { other.classList.remove("sel"); other.removeAttribute("aria-current"); }
    element.classList.add("sel"); element.setAttribute("aria-current", "true");
    element.scrollIntoView({ block: "nearest" });
  };
  const value = (control) => (control.type === "checkbox" ? (control.checked ? control.dataset.on || "1" : "") : control.value);
  const later = (event, wait) => {
    const control = event.target.closest?.("[data-param]");
    if (!control) return;
    clearTimeout(timer);
    if (control.type === "range") {
      const shown = control.parentElement.querySelector("output");
      if (shown) shown.textContent = Number(control.value).toFixed(2);
    }
    const group = control.dataset.group;           // read now: an answer may arrive in between
    const patch = { [control.dataset.param]: group
      ? [...document.querySelectorAll(`[data-group="${group}"]`)].map(value).join(",") : value(control) };
    for (const key of (control.dataset.resets || "").split(" ").filter(Boolean)) patch[key] = "";
    timer = setTimeout(() => wb.go(patch, { replace: event.type === "input" }), wait);
  };
  const assign = (values) => {                     // several keys of the form at once
    const others = (wb.view.set || "").split("\n").filter((l) => l && !Object.keys(values).some((path) => l.startsWith(path + "=")));
    wb.go({ set: [...others, ...Object.entries(values).map(([path, text]) => path + "=" + text)].join("\n") });
  };
  document.addEventListener("change", (event) => { if (event.target.dataset.pick !== undefined) { wb.go({ pick: event.target.dataset.pick }); return; } if (event.target.dataset.upload !== undefined) { wb.upload(event.target); return; } if (event.target.type !== "range") later(event, 0); typed(event, 0); });
  document.addEventListener("input", (event) => {
    if (["search", "range"].includes(event.target.type)) later(event, 160);
    if (["text", "number"].includes(event.target.type)) typed(event, 600);
  });
  const typed = (event, wait) => {                 // one line of the address key "set": path=text
    const control = event.target.closest?.("[data-set]");
    if (!control) return;
    const path = control.dataset.set;
    const text = control.dataset.fixed ?? (control.type === "checkbox" ? String(control.checked) : control.value);
    if (control.dataset.value !== undefined) drafts.set(path, text);
    clearTimeout(typing.get(path));
    typing.set(path, setTimeout(() => {
      typing.delete(path);
      const others = (wb.view.set || "").split("\n").filter((l) => l && !l.startsWith(path + "=") && !(path === "scalarizer.name" && l.startsWith("scalarizer.")));
      wb.go({ set: [...others, path + "=" + text.replaceAll("\n", " ")].join("\n") }, { replace: true });
    }, wait));
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input:not([type=range]):not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const shown = (e) => e.offsetParent !== null;
    const key = [...document.querySelectorAll(`[data-key="${CSS.escape(event.key)}"]`)].find(shown);
    if (key) { event.preventDefault(); key.tagName === "INPUT" ? key.focus() : key.click(); return; }
    const stepper = [...document.querySelectorAll("[data-steps]")].find(shown);
    if (stepper && (event.key === "h" || event.key === "l")) {   // from the address, not from what is drawn
      const steps = stepper.dataset.steps.split(",");
      const next = steps[steps.indexOf(wb.view.step) + (event.key === "l" ? 1 : -1)];
      if (next !== undefined) { event.preventDefault(); wb.go({ step: next }); }
      return;
    }
    if (event.key === "j" || event.key === "k") {
      const list = [...document.querySelectorAll(".wb-prompt, tr[data-step-through]")].filter(shown);
      if (!list.length) return;
      const at = list.findIndex((e) => e.classList.contains("sel"));
      const next = list[Math.min(list.length - 1, Math.max(0, at + (event.key === "j" ? 1 : -1)))];
      if (next && next !== list[at]) { event.preventDefault(); next.click(); }
    }
  });

  // Charts: figures come as Plotly JSON without colours of their own; the page's theme fills them in.
  const load = () => (plotly ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    // below the address that the app is served from, which a proxy may have put on a sub-path
    const root = window.gradio_config?.root ?? location.origin;
    script.src = root.replace(/\/$/, "") + document.querySelector("meta[name=wb-plotly]").content;
    script.onload = () => resolve(window.Plotly); script.onerror = () => { plotly = null; reject(new Error("plotly.min.js did not load")); };
    document.head.append(script);
  }));
  const themed = (layout) => {
    const css = getComputedStyle(document.querySelector(".gradio-container") || document.body);
    const text = css.getPropertyValue("--wb-mid").trim(), line = css.getPropertyValue("--wb-line").trim(), cardColor = css.getPropertyValue("--wb-card").trim();
    const out = { ...layout, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: true,
      font: { ...(layout.font || {}), color: text, family: "system-ui, -apple-system, Segoe UI, Roboto, DejaVu Sans, sans-serif", size: 11 },
      hoverlabel: { ...(layout.hoverlabel || {}), bgcolor: cardColor, bordercolor: line, font: { color: text } } };
    out.xaxis ??= {}; out.yaxis ??= {};
    for (const key of Object.keys(out)) if (/^[xy]axis/.test(key)) out[key] = { ...out[key], gridcolor: line, zerolinecolor: line, linecolor: line };
    return out;
  };
  const charts = new Set();
  const draw = async (chart) => {
    const value = chart.props.value;
    if (!value || !value.figure) {
      if (chart.box.data) window.Plotly.purge(chart.box);
      chart.box.style.height = "0"; chart.bound = false; chart.box.dataset.empty = "";
      return;
    }
    const Plotly = await load();
    const { data, layout } = JSON.parse(JSON.stringify(value.figure));   // Plotly writes into what it draws
    delete chart.box.dataset.empty;
    chart.box.style.height = (layout.height || 220) + "px";
    await Plotly.react(chart.box, data, themed(layout), { displayModeBar: false, responsive: true, displaylogo: false });
    if (!chart.bound) {
      chart.bound = true;
      chart.box.on("plotly_click", (event) => {
        const patch = event.points[0]?.customdata;
        if (patch && typeof patch === "object" && !Array.isArray(patch)) wb.go(patch);
      });
    }
  };
  const extend = async (chart, more) => {          // only what is new travels; the picture stays
    const Plotly = await load();
    if (!chart.box.data) return;
    const index = new Map(chart.box.data.map((t, i) => [t.meta ?? t.name, i]));
    const known = Object.keys(more.traces).filter((n) => index.has(n));
    if (!known.length) return;
    const fresh = (name) => {                      // the picture may have been drawn anew meanwhile
      const last = chart.box.data[index.get(name)].x.at(-1) ?? -Infinity, { x, y } = more.traces[name];
      const at = x.findIndex((v) => v > last);
      return at < 0 ? [[], []] : [x.slice(at), y.slice(at)];
    };
    const points = known.map(fresh);
    await Plotly.extendTraces(chart.box, { x: points.map((p) => p[0]), y: points.map((p) => p[1]) }, known.map((n) => index.get(n)));
  };
  wb.chart = (element, props, watch) => {
    const chart = { box: element.querySelector(".wb-plot"), props, bound: false };
    charts.add(chart);
    const update = () => (props.value && props.value.extend ? extend(chart, props.value.extend) : draw(chart)).catch((e) => console.error(e));
    watch("value", update);
    update();
    new ResizeObserver(() => { if (chart.box.data && chart.box.offsetWidth) window.Plotly.Plots.resize(chart.box); }).observe(element);
  };

  // Characters that hide or reorder what stands beside them, spelled out as \x.. and \u....
  const HIDDEN = /[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}]/gu;
  const EMOJI = /(\p{So}|[\ufe0f0-9#*])[\ufe0f\u200d]$/u;   // what an emoji is made of stays
  const visible = (text) => text.replace(HIDDEN, (c, at) => {
    if (EMOJI.test(text.slice(Math.max(0, at - 3), at + 1))) return c;
    const code = c.codePointAt(0), hex = code.toString(16);
    return code < 256 ? `\\x${hex.padStart(2, "0")}` : code < 65536 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
  });

  // A log: its end at first, then only what is new; a progress line shows its newest state.
  wb.log = (element, props, watch) => {
    const box = element.querySelector(".wb-log"), size = element.querySelector("[data-size]");
    let raw = "", end = 0;                         // end: bytes that are known
    const update = () => {
      const value = props.value;
      element.hidden = !value;
      if (!value) return;
      if (value.more === undefined) raw = value.text;
      else raw += new TextDecoder().decode(new TextEncoder().encode(value.more).slice(Math.max(0, end - value.from)));
      end = value.size;
      const lines = raw.replace(/[\r\n]+$/, "").split("\n").slice(-200);
      raw = raw.slice(-64000);
      box.textContent = visible(lines.map((line) => line.slice(line.lastIndexOf("\r") + 1)).join("\n"))
        || "The process has not written anything yet.";
      size.textContent = `${value.size.toLocaleString("en")} bytes`;
      settle();
    };
    watch("value", update);
    update();
  };
  document.addEventListener("DOMContentLoaded", () => {
    const later = ["launch", "rate"].includes(read().tab) ? 400 : 0;    // fetched while Gradio starts, so that no chart waits for it
    setTimeout(() => load().catch((e) => console.error(e)), later);
  });
  document.addEventListener("DOMContentLoaded", () => {   // light and dark are a class on body
    new MutationObserver(() => { for (const c of charts) if (c.box.data) window.Plotly.relayout(c.box, themed(c.box.layout)); })
      .observe(document.body, { attributes: true, attributeFilter: ["class"] });
  });
})();
