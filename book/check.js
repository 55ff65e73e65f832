// What check.py looks for in a page after it was shown: for each kind of fault, its places.
(() => {
  const article = document.querySelector("article");
  const all = (selector) => (article ? [...article.querySelectorAll(selector)] : []);
  const told = (element) => element.textContent.trim().replace(/\s+/g, " ").slice(0, 60);
  const width = document.documentElement.clientWidth;

  const inCode = (node) => node.parentElement.closest("pre, code, script, style, .math");
  const RAW = /```|:::|\{[a-z:]+\}`|\$[^$\n]{1,80}\$|\\\(|^\{[a-z-]+\}/;
  const texts = [];
  if (article) {
    const walk = document.createTreeWalker(article, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) if (!inCode(walk.currentNode)) texts.push(walk.currentNode.textContent);
  }

  const scrolls = (element) => {
    for (let e = element; e && e !== article; e = e.parentElement)
      if (["auto", "scroll"].includes(getComputedStyle(e).overflowX)) return true;
    return false;
  };
  const isCut = (element) =>
    element.offsetParent !== null &&
    element.getBoundingClientRect().right > width + 1 && !scrolls(element);
  const overlap = (a, b) =>
    a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  const hasCell = (table, text) =>
    [...table.querySelectorAll("td, th")].some((cell) => text.test(cell.textContent.trim()));

  return {
    "image missing": [...document.images]
      .filter((i) => i.complete && !i.naturalWidth && i.loading !== "lazy").map((i) => i.src),
    "image without a text": all("img").filter((i) => !i.alt).map((i) => i.src),
    "formula not rendered": all(".math")
      .filter((m) => !m.querySelector("mjx-container") || m.querySelector("mjx-merror")).map(told),
    "formula on its number": all(".math .eqno").filter((number) => {
      const formula = number.parentElement.querySelector("mjx-container svg");
      return formula && overlap(number.getBoundingClientRect(), formula.getBoundingClientRect());
    }).map(told),
    "wider than the window": document.documentElement.scrollWidth > width + 1
      ? [`${document.documentElement.scrollWidth} pixels`] : [],
    "text or formula cut off": all(
      ":is(p, li, h1, h2, h3, h4, dt, dd, td, th, code, img, button, mjx-container)",
    ).filter(isCut).map((e) => `${e.tagName} ${told(e)}`),
    "markup shown as it was written": texts.filter((text) => RAW.test(text))
      .map((text) => text.slice(Math.max(0, text.search(RAW) - 20)).trim().slice(0, 60)),
    "table cut short": all("table").filter((t) => hasCell(t, /^(\.\.\.|…)$/)).map(told)
      .concat(texts.filter((text) => /\d+ rows × \d+ columns/.test(text))),
    "a program's word in a table": all("table").filter((t) => hasCell(t, /^(True|False|NaN|None)$/))
      .map(told),
    "table without a caption": all(".cell_output table:not(.ledger)")
      .filter((t) => !t.closest("figure")?.querySelector("figcaption")).map(told),
  };
})();
