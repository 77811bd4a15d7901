// Stay at the end of the page while it grows, unless the reader has scrolled up.
let atEnd = true;
addEventListener("scroll", () => {
  const page = document.documentElement;
  atEnd = innerHeight + scrollY > page.scrollHeight - 160;
});
addEventListener("DOMContentLoaded", () => {
  new ResizeObserver(() => atEnd && scrollTo(0, document.documentElement.scrollHeight)).observe(document.body);
});
// Escape stops the agent, as Ctrl-C does in a terminal.
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !document.querySelector(".q-dialog")) document.querySelector('button[aria-label="Stop"]')?.click();
});
