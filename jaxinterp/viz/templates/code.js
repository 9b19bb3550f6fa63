// Copies the code of a figure with all that it needs: the first lines of the page, and what its chapter shows above it.
(() => {
  const text = (block) => block.querySelector("pre").textContent;
  const needed = (block) => {
    const above = [...document.querySelectorAll(".ji-code")];
    const own = block.closest("section"), until = above.slice(0, above.indexOf(block) + 1);
    return until.filter((one) => one.hasAttribute("data-first") || one.closest("section") === own).map(text).join("\n\n") + "\n";
  };
  const copy = (words) => {
    const field = document.createElement("textarea");
    field.value = words;
    field.className = "ji-aside";
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  };
  for (const button of document.querySelectorAll(".ji-copy")) {
    const label = button.firstChild;
    button.addEventListener("click", () => {
      const words = needed(button.closest(".ji-code"));
      button.dataset.copied = words;
      label.data = copy(words) ? "Copied" : "Select and copy";
      button.focus();
      setTimeout(() => { label.data = "Copy"; }, 2000);
    });
  }
})();
