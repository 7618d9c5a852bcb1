// What the pages share: elements made of text, questions to the server beside the page, and a fault as a sentence. Prompts
// and answers were written by users and models, so every text enters a page as text (textContent), never as markup.
"use strict";

window.SalusPage = (() => {
  const at = (id) => document.getElementById(id);

  function element(name, text = "", className = "") {
    const made = document.createElement(name);
    made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  // The page's own address may hold a key, and from such a one nothing is fetched.
  const beside = (path) => new URL(path, location.origin + location.pathname);

  // JSON from an address beside the page's; a body is posted.
  async function ask(path, body) {
    const options = { headers: { Accept: "application/json" }, credentials: "same-origin" };
    if (body !== undefined) {
      options.method = "POST";
      options.headers["Content-Type"] = "application/json";
      options.body = JSON.stringify(body);
    }
    const reply = await fetch(beside(path), options);
    const known = await reply.json().catch(() => ({}));
    // The gateway's own refusals have a message inside.
    if (!reply.ok) throw new Error(known.error?.message || known.error || `The server answered ${reply.status}; try again.`);
    return known;
  }

  const told = (error) => (error instanceof TypeError ? "The server cannot be reached; try again." : error.message);

  function fault(error, more = "") {
    at("fault").hidden = !error;
    at("fault").textContent = error ? told(error) + more : "";
  }

  return { at, element, ask, told, fault };
})();
