// Browsers let no page read the search index from the disk: without a server a search box would find nothing.
if (location.protocol === "file:") {
  document.querySelectorAll(".md-search, [for=__search]").forEach((part) => part.remove());
}
