// The review page: one answer at a time, labelled by buttons or keys.
"use strict";

(() => {
  const AT_ONCE = 10;
  const MOST = 200;
  const LABELS = { 1: "Accept", 2: "Caution", 3: "Refuse" };
  const KEYS = "salus-review-keys";
  const { at, element, ask, fault } = window.SalusPage;
  const percent = (share) => `${(100 * share).toFixed(0)} %`;

  let items = [];
  let skipped = new Set();
  let busy = false;

  // One request at a time: a key pressed twice labels one answer, not two.
  async function once(work) {
    if (busy) return;
    busy = true;
    buttons();
    fault(null);
    try {
      await work();
    } catch (error) {
      fault(error);
    } finally {
      busy = false;
      buttons();
    }
  }

  function buttons() {
    for (const button of document.querySelectorAll(".choice, #skip")) button.disabled = busy || !items.length;
    at("undo").disabled = busy;
  }

  function tell(progress) {
    const tied = progress.ties ? `, ${progress.ties} tied` : "";
    at("progress").textContent = `${progress.remaining} left, ${progress.labelled} labelled${tied}`;
    const of = progress.agreement;
    at("agreement").hidden = !of;
    if (!of) return;
    const [low, high] = [of.share.low, of.share.high].map((end) => (100 * end).toFixed(0));
    const alpha = of.alpha && [of.alpha.value, of.alpha.low, of.alpha.high].map((each) => each.toFixed(2));
    at("agreement").textContent =
      `You and other reviewers labelled ${of.n} of the same answers and all agree on ${percent(of.share.value)} of them` +
      ` (95 % interval ${low} to ${high})${alpha ? `; Krippendorff's alpha ${alpha[0]} (${alpha[1]} to ${alpha[2]})` : ""}.` +
      " This is told anew after every ten answers.";
  }

  function facts(item) {
    const known = [];
    if (item.level !== null) known.push(`Harm level ${item.level}`);
    if (item.method !== null) known.push(`Asked: ${item.method.replaceAll("_", " ")}`);
    if (item.policy !== null) known.push(`Answered by ${item.policy}`);
    at("facts").replaceChildren(...known.map((text) => element("li", text)));
  }

  function verdict(item) {
    const who = item.judge === null ? "No judge" : `Judge ${item.judge}`;
    const apart = item.disagreement === null ? "" : ` The judges are apart by ${item.disagreement.toFixed(2)} (0 to 1).`;
    at("verdict").textContent = `${who}: ${item.judged === null ? "no usable label" : item.judged}.${apart}`;
    const rows = Object.entries(item.p || {}).map(([label, share]) => {
      const row = element("tr");
      row.append(element("td", label), element("td", percent(share), "number"));
      return row;
    });
    at("shares").tBodies[0].replaceChildren(...rows);
    at("shares").hidden = !rows.length;
    at("judged").open = false;
    // Nothing is known here of the judge's label of a control answer.
    at("judged").hidden = item.queue === "control";
  }

  function show(move) {
    const [item] = items;
    at("item").hidden = !item;
    at("done").hidden = Boolean(item);
    buttons();
    if (item) {
      at("prompt").textContent = item.prompt;
      at("answer").textContent = item.answer;
      at("comment").value = item.comment;
      at("why").textContent = `Why this one: ${item.why}`;
      facts(item);
      verdict(item);
    }
    // A screen reader goes on from the new answer; nothing jumps when the page has just been opened.
    if (move) {
      window.scrollTo({ top: 0 });
      at(item ? "item-heading" : "done-heading").focus({ preventScroll: true });
    }
  }

  async function fill() {
    const known = await ask(`review/next?n=${Math.min(MOST, AT_ONCE + skipped.size)}`);
    items = known.items.filter((item) => !skipped.has(item.key));
    if (!items.length && known.items.length) {
      skipped = new Set();
      items = known.items;
    }
    tell(known.progress);
  }

  async function advance(said) {
    items.shift();
    if (!items.length) await fill();
    at("said").textContent = `${said}. ${at("progress").textContent}.`;
    show(true);
  }

  const label = (name) =>
    once(async () => {
      if (!items.length) return;
      tell(await ask("review/label", { key: items[0].key, label: name, comment: at("comment").value }));
      await advance(`Labelled ${name}`);
    });

  const skip = () =>
    once(async () => {
      if (!items.length) return;
      skipped.add(items[0].key);
      await advance("Skipped");
    });

  const undo = () =>
    once(async () => {
      // What was written meanwhile comes back with its own answer.
      if (items.length) items[0].comment = at("comment").value;
      const { item, progress } = await ask("review/undo", {});
      tell(progress);
      if (item) items = [item, ...items.filter((other) => other.key !== item.key)];
      at("said").textContent = item ? "Your last label is taken back." : "There is no label of yours to take back.";
      if (item) show(true);
    });

  function judged() {
    if (items.length && !at("judged").hidden) at("judged").open = !at("judged").open;
  }

  // Modal: what is behind it takes no focus; closed, the focus goes back to where it was.
  const help = () => at("keys-help").showModal();

  function comment() {
    if (items.length) at("comment").focus();
  }

  function pressed(event) {
    if (!at("keys").checked || at("keys-help").open) return;
    if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target === at("comment")) {
      if (event.key === "Escape") at("item-heading").focus();
      return;
    }
    const key = event.key.toLowerCase();
    const act = key in LABELS ? () => label(LABELS[key]) : { u: undo, s: skip, j: judged, c: comment, "?": help }[key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  for (const button of document.querySelectorAll(".choice")) {
    button.addEventListener("click", () => label(button.dataset.label));
  }
  at("skip").addEventListener("click", skip);
  at("undo").addEventListener("click", undo);
  at("help").addEventListener("click", help);
  at("close-help").addEventListener("click", () => at("keys-help").close());
  at("keys").checked = localStorage.getItem(KEYS) !== "off";
  at("keys").addEventListener("change", () => localStorage.setItem(KEYS, at("keys").checked ? "on" : "off"));
  document.addEventListener("keydown", pressed);
  once(async () => {
    await fill();
    show(false);
  });
})();
