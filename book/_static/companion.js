/* The site's script: interactive figures, drawn when they come into view. Plain script, no module: the site also works from file://. */
(function () {
  "use strict";

  const STATIC = new URL(".", document.currentScript.src).href;

  // The theme looks for the sidebar of the page on every scroll, also on a page that has none.
  if (!document.querySelector("div.bd-sidebar-secondary")) {
    const absent = document.createElement("div");
    absent.className = "bd-sidebar-secondary";
    absent.hidden = true;
    document.body.appendChild(absent);
  }

  // A wide table scrolls in a box of its own; the page never does.
  document.querySelectorAll("article.bd-article table").forEach((table) => {
    if (table.closest(".pst-scrollable-table-container, .scorecard-box, .table-box, .verdict, .highlight")) return;
    const box = document.createElement("div");
    box.className = "table-box";
    table.parentNode.insertBefore(box, table);
    box.appendChild(table);
  });
  document.querySelectorAll(".pst-scrollable-table-container, .table-box, .scorecard-box").forEach((box) => {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0; // reachable by keyboard
  });

  const figures = Array.from(document.querySelectorAll(".plotly-figure"));
  if (!figures.length) return;

  const CONFIG = {
    responsive: true,
    displaylogo: false,
    displayModeBar: "hover",
    showSendToCloud: false,
    showEditInChartStudio: false,
    plotlyServerURL: "",
    modeBarButtonsToRemove: ["sendDataToCloud", "lasso2d", "select2d"],
  };

  let library = null;
  function plotly() {
    if (!library) {
      library = new Promise((resolve, reject) => {
        const script = document.createElement("script");
        script.src = STATIC + "plotly.min.js";
        script.onload = () => resolve(window.Plotly);
        script.onerror = reject;
        document.head.appendChild(script);
      });
    }
    return library;
  }

  const isDark = () => document.documentElement.dataset.theme === "dark";

  // Colours of paper, text and lines in each theme; the data keep the figure's own.
  function themed() {
    const [paper, ink, grid] = isDark() ? ["#14181e", "#ced6dd", "#3d444d"] : ["#ffffff", "#222222", "#dddddd"];
    return { paper, ink, grid };
  }

  // The axes that the traces use, named or not: only a named one can be dressed.
  function axes(data) {
    const used = {};
    for (const trace of data) {
      if (/3d$|^surface$|^cone$|^isosurface$|^volume$/.test(trace.type || "")) used[trace.scene || "scene"] = {};
      else {
        used[(trace.xaxis || "x").replace("x", "xaxis")] = {};
        used[(trace.yaxis || "y").replace("y", "yaxis")] = {};
      }
    }
    return used;
  }

  function dress(figure) {
    const { paper, ink, grid } = themed();
    const layout = Object.assign(axes(figure.data), figure.layout);
    if (!layout.margin) layout.margin = { l: 50, r: 10, t: layout.title ? 60 : 20, b: 40 };
    const dressed = Object.assign({}, layout, {
      paper_bgcolor: paper,
      plot_bgcolor: paper,
      font: Object.assign({}, layout.font, { color: ink, family: getComputedStyle(document.body).fontFamily }),
      autosize: true,
    });
    delete dressed.width;
    const axis = (old) =>
      Object.assign({}, old, { color: ink, gridcolor: grid, zerolinecolor: grid, linecolor: grid, backgroundcolor: paper });
    for (const key of Object.keys(dressed)) {
      if (/^[xy]axis\d*$/.test(key)) dressed[key] = axis(dressed[key]);
      if (/^scene\d*$/.test(key)) {
        const scene = Object.assign({}, dressed[key], { bgcolor: paper });
        for (const name of ["xaxis", "yaxis", "zaxis"]) scene[name] = axis(scene[name]);
        dressed[key] = scene;
      }
      if (/^legend\d*$/.test(key)) dressed[key] = Object.assign({}, dressed[key], { bgcolor: "rgba(0,0,0,0)" });
    }
    if (Array.isArray(dressed.annotations)) {
      dressed.annotations = dressed.annotations.map((note) =>
        Object.assign({}, note, { font: Object.assign({}, note.font, { color: ink }), bgcolor: undefined })
      );
    }
    for (const key of ["sliders", "updatemenus"]) {
      if (Array.isArray(dressed[key])) {
        dressed[key] = dressed[key].map((part) => Object.assign({}, part, { font: Object.assign({}, part.font, { color: ink }), bgcolor: paper }));
      }
    }
    return dressed;
  }

  const drawn = new Map(); // element that plotly drew in -> the figure as the notebook made it

  async function draw(holder) {
    const source = holder.querySelector("script.plotly-json");
    if (!source || holder.dataset.drawn) return;
    holder.dataset.drawn = "pending";
    const figure = JSON.parse(source.textContent);
    const picture = holder.querySelector("img");
    const plot = document.createElement("div");
    plot.className = "plotly-plot";
    plot.style.height = (figure.layout.height || 480) + "px";
    plot.setAttribute("role", "group"); // with the buttons of plotly in it
    if (picture && picture.alt) plot.setAttribute("aria-label", picture.alt);
    try {
      const Plotly = await plotly();
      holder.appendChild(plot);
      holder.classList.add("plotly-drawn"); // hides the picture on screen, not in print
      await Plotly.newPlot(plot, figure.data, dress(figure), CONFIG);
      if (figure.frames) await Plotly.addFrames(plot, figure.frames);
      drawn.set(plot, figure);
      holder.dataset.drawn = "yes";
    } catch (error) {
      // The static picture stays: nothing is lost but the rotation.
      holder.classList.remove("plotly-drawn");
      plot.remove();
      holder.dataset.drawn = "failed";
    }
  }

  const observer = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (entry.isIntersecting) {
          observer.unobserve(entry.target);
          draw(entry.target);
        }
      }
    },
    { rootMargin: "400px" }
  );
  figures.forEach((holder) => observer.observe(holder));

  function redress() {
    for (const [plot, figure] of drawn) {
      const layout = dress(figure);
      for (const key of Object.keys(layout).filter((name) => name.startsWith("scene"))) {
        const camera = plot.layout && plot.layout[key] && plot.layout[key].camera;
        if (camera) layout[key].camera = camera; // keep the reader's rotation
      }
      window.Plotly.react(plot, plot.data, layout, CONFIG);
    }
  }
  new MutationObserver(redress).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
})();
