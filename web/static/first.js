// Runs before the first paint: says that scripts work, and applies the remembered appearance without a flash.
(function () {
  "use strict";
  const root = document.documentElement;
  root.classList.add("js");
  try {
    const theme = localStorage.getItem("advisor-theme");
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  } catch {
    // Storage can be forbidden; the system's appearance is right then.
  }
})();
