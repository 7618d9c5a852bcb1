// The dashboard: asks for its data, draws it, and asks again.
"use strict";

(() => {
  const EVERY_MS = 15000;
  const { cycles, curves, reliability, checked, legend, nameOf, brief, JUDGES } = window.SalusFigures;
  const { at, element, ask, fault } = window.SalusPage;
  let drawn = "";
  let board = null;

  // Rows of a table; the first cell of each is its heading. A cell is a text, or a text and a class.
  function fill(table, rows, nothing) {
    const body = at(table).tBodies[0];
    const columns = at(table).tHead.rows[0].cells.length;
    const made = rows.map((cells) => {
      const row = element("tr");
      cells.forEach((cell, index) => {
        const [text, className, address] = Array.isArray(cell) ? cell : [cell, ""];
        const made = element(index ? "td" : "th", address ? "" : text, className);
        if (address) {
          const link = element("a", text);
          link.href = address;
          made.append(link);
        }
        if (!index) made.scope = "row";
        row.append(made);
      });
      return row;
    });
    if (!made.length) {
      const row = element("tr");
      const cell = element("td", nothing, "none");
      cell.colSpan = columns;
      row.append(cell);
      made.push(row);
    }
    body.replaceChildren(...made);
  }

  const share = (value) => value.toFixed(3);
  const ends = (of) => (of.low === of.high ? "no spread" : `${share(of.low)}, ${share(of.high)}`);
  const interval = (of) => (of ? `${share(of.value)} [${ends(of)}]` : "-");
  const seconds = (value) => (value === null ? "-" : value < 1 ? `${Math.round(1000 * value)} ms` : `${value.toFixed(1)} s`);
  function when(text) {
    const time = new Date(text);
    return Number.isNaN(time.getTime()) ? text : time.toISOString().replace("T", " ").slice(0, 19) + " UTC";
  }

  function head(data) {
    const { run, current } = data;
    at("run-name").textContent = run ? run.name : "Dashboard";
    const state = run && (run.state === "finished" ? "finished" : "going on");
    at("run-facts").textContent = run
      ? `Recipe ${run.recipe}, seed ${run.seed}: ${run.cycles_done} of ${run.cycles} cycles decided, ${state}`
      : "";
    at("current-version").textContent = current ? current.version : "none yet";
    at("current-why").textContent = current ? `since ${when(current.since)}${current.why ? `: ${current.why}` : ""}` : "";
    at("missing").hidden = !data.missing.length;
    at("missing").firstElementChild.replaceChildren(...data.missing.map((text) => element("li", text)));
  }

  // The last champion's figure, by ground truth where there is one, beside that of the deployed model.
  function tile(id, points, metric) {
    const own = points.filter((p) => p.metric === metric);
    const by = own.some((p) => p.judged_by === "truth") ? "truth" : "judge";
    const winners = own.filter((p) => p.judged_by === by && (p.winner || p.cycle === 0)).sort((a, b) => a.cycle - b.cycle);
    const [first, last] = [winners[0], winners[winners.length - 1]];
    at(id).textContent = last ? share(last.value) : "-";
    at(`${id}-note`).textContent = last
      ? `${share(last.low)} to ${share(last.high)}; deployed ${share(first.value)}; validation, ${JUDGES[by]}`
      : "no cycle decided yet";
  }

  function traffic(of) {
    const none = "not counted here";
    at("tile-rate").textContent = of ? of.requests_per_s.toFixed(of.requests_per_s < 10 ? 2 : 0) : "-";
    at("tile-rate-note").textContent = of ? `${of.requests} in ${Math.round(of.window_s)} s` : none;
    at("tile-time").textContent = of ? seconds(of.p50_s) : "-";
    at("tile-time-note").textContent = of ? `median; 99 % within ${seconds(of.p99_s)}` : none;
    at("tile-errors").textContent = of ? String(of.errors) : "-";
    const rate = of && of.requests ? `${((100 * of.errors) / of.requests).toFixed(2)} % of requests` : "of no requests";
    at("tile-errors-note").textContent = of ? rate : none;
  }

  function figures(data) {
    cycles(at("figure-ss"), data.points, data.marks, "ss", "Safety Score by cycle", true);
    cycles(at("figure-err"), data.points, data.marks, "err_strict", "Harmless requests refused, by cycle", false);
    training(data);
    reliability(at("figure-reliability"), data.calibration ? data.calibration.reliability : []);
    checked(at("figure-checked"), data.control, data.calibration);
    const judges = ["truth", "judge"].filter((by) => data.points.some((p) => p.judged_by === by));
    legend(at("legend"), [
      ...Object.entries(data.marks).flatMap(([name, own]) => [true, false].map((full) => [
        { kind: own.shape, colour: own.hue, full }, `${nameOf(name)}, ${full ? "" : "not "}chosen`,
      ])),
      [{ kind: "diamond", colour: "champion", full: true }, "deployed, or champion stayed"],
      ...judges.map((by) => [{ line: by === "judge" ? "dashed" : "solid" }, `champion's way, ${JUDGES[by]}`]),
    ]);
  }

  // What TRL logs, in this order; what it logs beside that comes after it.
  const LOGGED = ["loss", "rewards/margins", "rewards/chosen", "rewards/rejected", "kl", "grad_norm", "learning_rate"];
  const named = (figure) => figure.replaceAll("_", " ").replaceAll("/", ", ");

  function training(data) {
    at("training-section").hidden = !data.curves.length;
    const known = [...new Set(data.curves.map((line) => line.figure))];
    const place = (figure) => (LOGGED.includes(figure) ? LOGGED.indexOf(figure) : LOGGED.length);
    known.sort((a, b) => place(a) - place(b) || a.localeCompare(b));
    const chosen = at("curve-figure");
    const before = known.includes(chosen.value) ? chosen.value : known[0];
    // Options that are made anew close a list that is open.
    if (known.join() !== [...chosen.options].map((option) => option.value).join()) {
      chosen.replaceChildren(...known.map((figure) => {
        const option = element("option", named(figure));
        option.value = figure;
        option.selected = figure === before;
        return option;
      }));
    }
    curves(at("figure-curves"), data.curves, data.marks, before);
  }

  function curveRows(lines) {
    return lines.map((line) => [
      `${nameOf(line.challenger)}, ${named(line.figure)}`, [line.steps[line.steps.length - 1].toLocaleString("en"), "number"],
      [brief(line.values[0]), "number"], [brief(line.values[line.values.length - 1]), "number"],
    ]);
  }

  function pointRows(points) {
    const rows = new Map();
    for (const p of points) {
      const key = [p.cycle, p.contender, p.judged_by].join("/");
      if (!rows.has(key)) rows.set(key, { ...p, of: {} });
      rows.get(key).of[p.metric] = p;
    }
    return [...rows.values()].map((row) => [
      String(row.cycle), `${row.cycle ? nameOf(row.contender).replace(" stayed", "") : "deployed model"}, ${row.policy}`, JUDGES[row.judged_by],
      [interval(row.of.ss), "now"], [interval(row.of.err_strict), "now"], [interval(row.of.asr), "now"], [interval(row.of.answered), "now"],
      [row.of.ss ? row.of.ss.n.toLocaleString("en") : "-", "number"], row.winner && row.cycle ? "yes" : "",
    ]);
  }

  function tables(data) {
    fill("points", pointRows(data.points), "No cycle has been decided yet.");
    fill("curves", curveRows(data.curves), "No challenger has logged a step yet.");
    fill("decisions", data.decisions.map((d) => [
      d.page ? [`${d.cycle}, its page`, "now", `dashboard/decisions/${Number(d.cycle)}`] : String(d.cycle), [`${d.chosen === "champion" ? "champion stays" : d.chosen.toUpperCase()}, ${d.policy}`, "now"],
      d.published ? "yes" : "no", [d.publish_sentence ? `${d.sentence} ${d.publish_sentence}` : d.sentence, "long"],
    ]), "No cycle has been decided yet.");
    at("test-section").hidden = !data.test.length;
    fill("test", data.test.map((t) => [
      t.name, ...[t.ss, t.err_strict, t.asr, t.answered].map((of) => [interval(of), "now"]), [t.n.toLocaleString("en"), "number"],
    ]), "");
    at("test-note").textContent = data.test_judged_by ? `Test split, by ${JUDGES[data.test_judged_by]}.` : "Test split.";
    const names = { published: "went live", promote: "promoted", rollback: "rolled back" };
    fill("publications", data.publications.map((p) => [
      [when(p.at), "now"], names[p.action] + (p.swap_s ? ` (paused ${seconds(p.swap_s)})` : ""), [p.version, "now"],
      [p.previous || "-", "now"],
      [p.who, p.why].filter(Boolean).join(": ") || "-",
    ]), "Nothing has been published.");
    const parents = data.lineage.map((p) => {
      const li = element("li");
      li.append(element("span", p.version, "version"), element("p", `${p.how}, run ${p.run}`, "quiet"));
      return li;
    });
    at("lineage").replaceChildren(...(parents.length ? parents : [element("li", "No policy is known yet.")]));
  }

  function judge(of) {
    at("judge-sentence").textContent = of ? of.sentence : "Nothing is known of the judge yet.";
    const recall = of ? Object.entries(of.recall).map(([label, value]) => [`Recall of ${label}`, [interval(value), "now"]]) : [];
    const ece = of ? of.reliability.map((r) => [`Calibration error, ${r.name}`, [interval(r.ece), "now"]]) : [];
    fill("judge", of ? [
      ["Judge", of.judge], ["Held against", of.labels_source], ["Answers", of.n.toLocaleString("en")], ["Gave a label for", share(of.coverage)],
      ["Accuracy", [interval(of.accuracy), "now"]], ["Cohen's kappa", [interval(of.kappa), "now"]], ...recall, ...ece,
      ["Temperature", of.temperature === null ? "-" : of.temperature.toFixed(3)],
    ] : [], "Not held against trusted labels yet.");
    const bins = of ? of.reliability.flatMap((r) => r.bins.filter((b) => b.n).map((b) => [
      r.name, `${b.low.toFixed(1)} to ${b.high.toFixed(1)}`, [b.n.toLocaleString("en"), "number"],
      [b.confidence === null ? "-" : share(b.confidence), "number"], [b.accuracy === null ? "-" : share(b.accuracy), "number"],
    ])) : [];
    fill("reliability", bins, "Not held against trusted labels yet.");
  }

  function control(lines) {
    const number = (value) => [value === null ? "-" : value.toLocaleString("en"), "number"];
    fill("control", lines.map((line) => [
      String(line.cycle), line.reference, number(line.asked), number(line.answered), number(line.disagreed),
      line.disagreed === null ? "waits for labels" : [interval(line.accuracy), "now"], [interval(line.kappa), "now"],
    ]), "No control answers have been drawn yet.");
  }

  function cost(of) {
    const hours = (seconds) => (seconds < 90 ? `${seconds.toFixed(0)} s` : seconds < 5400 ? `${(seconds / 60).toFixed(0)} min` : `${(seconds / 3600).toFixed(1)} h`);
    const money = (value) => value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
    const count = (value) => value.toLocaleString("en");
    at("cost-none").hidden = Boolean(of);
    at("cost").hidden = !of;
    if (!of) return;
    const paid = of.judge;
    const facts = [
      ["Wall time", hours(of.wall_s)],
      ["GPU-hours", of.gpu_hours === null ? "none, on CPUs" : `${of.gpu_hours.toLocaleString("en", { maximumFractionDigits: 2 })}, busy ${(100 * of.busy_share).toFixed(0)} %`],
      ["Price of the GPU-hours", of.money !== null ? money(of.money) : of.gpu_hours === null ? "-" : "the recipe names no price"],
      ...(paid ? [
        ["Tokens the paid judge read", count(paid.prompt_tokens)], ["Tokens it wrote", count(paid.completion_tokens)],
        ["Requests to it", count(paid.requests)], ["Price of that judge", `${money(paid.cost_usd)} US dollars`],
      ] : [["Paid judge", "none"]]),
    ];
    at("cost").replaceChildren(...facts.map(([name, value]) => {
      const pair = element("div");
      pair.append(element("dt", name), element("dd", value));
      return pair;
    }));
  }

  function draw() {
    const { data } = board;
    head(data);
    tile("tile-ss", data.points, "ss");
    tile("tile-err", data.points, "err_strict");
    figures(data);
    tables(data);
    judge(data.calibration);
    control(data.control);
    cost(data.cost);
  }

  async function refresh() {
    try {
      board = await ask("dashboard/data");
      // What has not changed is left alone, with the place a reader has reached in it.
      const text = JSON.stringify(board.data);
      if (text !== drawn) draw();
      drawn = text;
      traffic(board.traffic);
      at("updated").textContent = new Date().toLocaleTimeString();
      fault(null);
    } catch (error) {
      fault(error, board ? " What is shown is of the time above." : "");
    }
  }

  setInterval(() => { if (at("live").checked && !document.hidden) refresh(); }, EVERY_MS);
  at("live").addEventListener("change", () => { if (at("live").checked) refresh(); });
  at("curve-figure").addEventListener("change", () => training(board.data));
  let width = 0;
  new ResizeObserver(() => {
    const now = at("figure-ss").clientWidth;
    if (board && Math.abs(now - width) > 8) figures(board.data);
    width = now;
  }).observe(at("figure-ss"));
  refresh();
})();
