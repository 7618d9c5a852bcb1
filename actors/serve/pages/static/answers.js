// The page of answers. Prompts and answers were written by users and models, so every text enters the page as text
// (textContent), never as markup.
"use strict";

(() => {
  const at = (id) => document.getElementById(id);
  // Beside this page. The page's own address may hold a key, and from such a one nothing is fetched.
  const beside = (path) => new URL(path, location.origin + location.pathname);
  const FILTERS = ["prompts", "left", "right", "level", "method", "label", "disagreement"];
  let page = 1;
  let asked = 0;

  function element(name, text = "", className = "") {
    const made = document.createElement(name);
    made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  function options(id, names, chosen, any) {
    const all = any ? ["", ...names] : names;
    at(id).replaceChildren(...all.map((name) => {
      const option = element("option", name || "any");
      option.value = name;
      option.selected = name === chosen;
      return option;
    }));
  }

  function side(policy, of) {
    const box = element("section", "", "side");
    const heading = element("h2", policy || "no policy");
    box.append(heading);
    if (!of) {
      box.append(element("p", "No answer of this policy.", "quiet"));
      return box;
    }
    const facts = element("ul", "", "facts");
    facts.append(element("li", of.label || "no label"));
    if (of.p) facts.append(element("li", Object.entries(of.p).map(([label, share]) => `${label} ${(100 * share).toFixed(0)} %`).join(", ")));
    if (of.disagreement !== null) facts.append(element("li", `judges apart by ${of.disagreement.toFixed(2)}`));
    if (of.cut_off) facts.append(element("li", "cut off"));
    const text = element("div", of.answer, "text answer");
    text.dir = "auto";
    box.append(facts, text);
    return box;
  }

  function row(of, shown) {
    const item = element("li", "", "card");
    const prompt = element("div", of.prompt, "text");
    prompt.dir = "auto";
    const both = element("div", "", "columns");
    both.append(side(shown.left, of.left), side(shown.right, of.right));
    item.append(element("p", `${of.prompt_id}, level ${of.level}, ${of.method}`, "quiet"), prompt, both);
    return item;
  }

  function draw(shown) {
    options("prompts", shown.sets, shown.asked.prompts, false);
    options("left", shown.policies, shown.asked.left, false);
    options("right", shown.policies, shown.asked.right, false);
    options("method", shown.methods, shown.asked.method, true);
    at("rows").replaceChildren(...shown.rows.map((of) => row(of, shown.asked)));
    at("found").textContent = `${shown.total.toLocaleString("en")} prompt${shown.total === 1 ? "" : "s"}`;
    page = shown.asked.page;
    at("page").textContent = shown.pages ? `page ${page} of ${shown.pages}` : "";
    at("before").disabled = page <= 1;
    at("after").disabled = page >= shown.pages;
  }

  async function show(wanted) {
    asked += 1;
    const own = asked;
    const values = FILTERS.map((id) => [id, at(id).value]).filter(([, value]) => value);
    const query = new URLSearchParams([...values, ["page", String(wanted)]]);
    try {
      const reply = await fetch(beside(`answers/data?${query}`), { headers: { Accept: "application/json" }, credentials: "same-origin" });
      const known = await reply.json().catch(() => ({}));
      if (!reply.ok) throw new Error(known.error?.message || known.error || `The server answered ${reply.status}; try again.`);
      // An earlier question may be answered later.
      if (own !== asked) return;
      draw(known);
      at("fault").hidden = true;
    } catch (error) {
      at("fault").textContent = error instanceof TypeError ? "The server cannot be reached; try again." : error.message;
      at("fault").hidden = false;
      at("found").textContent = "";
    }
  }

  for (const id of FILTERS) at(id).addEventListener("change", () => show(1));
  at("filters").addEventListener("submit", (event) => event.preventDefault());
  const turn = async (to) => {
    await show(to);
    at("main").focus();
    scrollTo(0, 0);
  };
  at("before").addEventListener("click", () => turn(page - 1));
  at("after").addEventListener("click", () => turn(page + 1));
  show(1);
})();
