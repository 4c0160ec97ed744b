// Before anything is painted: the theme that was chosen here, else the one of the system.
const chosen = localStorage.getItem("dunlin-theme");
if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
