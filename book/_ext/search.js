// Read after Sphinx's searchtools.js, on the search page alone.
// Pages whose title says what is asked come first, names of programs last.
Scorer.score = ([page, title, anchor, , score]) => {
  const asked = new URLSearchParams(location.search).get("q").toLowerCase();
  if (page.startsWith("book/api/")) return score - 15;
  return !anchor && title.toLowerCase().includes(asked) ? score + 5 : score;
};

// Excerpts are from the text of a page, not from the buttons and the contents beside it.
const ofWholePage = Search.htmlToText;
Search.htmlToText = (html, anchor) => {
  const page = new DOMParser().parseFromString(html, "text/html");
  for (const part of page.querySelectorAll(".bd-header-article, #jb-print-docs-body, .bd-toc"))
    part.remove();
  return ofWholePage(page.documentElement.outerHTML, anchor);
};
