// The page of answers: prompts with the answers of two policies, and what else the run knows of each.
"use strict";

(() => {
  const { at, element, ask, told, fault } = window.SalusPage;
  const FILTERS = ["prompts", "left", "right", "level", "method", "label", "disagreement"];
  let page = 1;
  let asked = 0;

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
    item.append(element("p", `${of.prompt_id}, level ${of.level}, ${of.method}`, "quiet"), prompt, both, more(of.prompt_id));
    return item;
  }

  // What else is known of a prompt is fetched when it is opened, and its nearest training prompts when they are asked for.
  function more(prompt) {
    const box = element("details");
    const inside = element("div");
    box.append(element("summary", "All that the run knows of it"), inside);
    box.addEventListener("toggle", () => {
      if (box.open && !inside.hasChildNodes()) explain(inside, prompt, 0);
    });
    return box;
  }

  async function explain(inside, prompt, nearest) {
    const query = new URLSearchParams({ prompt_id: prompt, nearest: String(nearest) });
    try {
      drawExplained(inside, await ask(`answers/prompt?${query}`), prompt, nearest);
    } catch (error) {
      inside.replaceChildren(element("p", told(error), "notice"));
    }
  }

  const number = (value, digits) => (value === null ? "-" : value.toFixed(digits));

  function drawExplained(inside, of, prompt, nearest) {
    const table = (title, columns, rows) => tabled(title, prompt, columns, rows);
    const parts = [
      table("Answers and labels", ["policy", "label", "Accept, Caution, Refuse", "judge", "people", "answer"], of.answers.map((each) => [
        each.cycle === null ? each.policy : `${each.policy}, cycle ${each.cycle}, sample ${each.sample}`,
        each.label || "-",
        each.probabilities ? each.probabilities.map((share) => share.toFixed(2)).join(", ") : "-",
        each.disagreement === null ? each.judge : `${each.judge}, apart by ${each.disagreement.toFixed(2)}`,
        each.people || "-",
        each.answer,
      ])),
      table("Control labels", ["cycle", "contender", "judge's label", "reference's label", "labelled by"], of.trusted.map((each) => [
        each.cycle, `${each.contender} (${each.policy})`, each.judge_label || "-", each.reference_label || "-", each.reference,
      ])),
      table("What decisions made of it", ["cycle", "challenger", "champion's mark", "its mark", "part of its gain", "chosen"], of.decisions.map((each) => [
        each.cycle, `${each.contender} (${each.policy})`, number(each.champion_mark, 2), number(each.mark, 2),
        number(each.share_of_gain, 4), each.chosen ? "yes" : "no",
      ])),
      table("Nearest prompts of training rows", ["nearness", "cycle", "level", "prompt", "what was learnt"], of.nearest.map((each) => [
        each.similarity.toFixed(3), each.cycle, each.level ?? "-", each.prompt,
        each.texts.map(([name, text]) => `${name}: ${text}`).join("\n"),
      ])),
    ].filter(Boolean);
    if (of.prompt.reference !== null) parts.unshift(element("p", `Reference answer: ${of.prompt.reference}`));
    if (nearest === 0) {
      const button = element("button", "Nearest training prompts");
      button.type = "button";
      button.addEventListener("click", () => explain(inside, prompt, 3));
      parts.push(button);
    } else if (!of.nearest.length) {
      parts.push(element("p", "No nearest training prompt can be told: no row is there yet, or the deployed policy's folder is not.", "quiet"));
    }
    inside.replaceChildren(...parts);
  }

  // Regions of one name could not be told apart by those who hear the page, so each names its prompt.
  function tabled(title, prompt, columns, rows) {
    if (!rows.length) return null;
    const made = element("table");
    const head = element("tr");
    head.append(...columns.map((name) => {
      const cell = element("th", name);
      cell.scope = "col";
      return cell;
    }));
    const top = element("thead");
    top.append(head);
    const body = element("tbody");
    body.append(...rows.map((cells) => {
      const line = element("tr");
      line.append(...cells.map((text) => {
        const cell = element("td", String(text), String(text).length > 40 ? "long" : "");
        cell.dir = "auto";
        return cell;
      }));
      return line;
    }));
    made.append(element("caption", title), top, body);
    const box = element("div", "", "scroll");
    box.tabIndex = 0;
    box.role = "region";
    box.ariaLabel = `${title}, ${prompt}`;
    box.append(made);
    return box;
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
      const known = await ask(`answers/data?${query}`);
      // An earlier question may be answered later.
      if (own !== asked) return;
      draw(known);
      fault(null);
    } catch (error) {
      fault(error);
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
