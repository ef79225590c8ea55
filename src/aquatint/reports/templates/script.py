"""Script of a page: draws its figures in the reader's colors and width."""

JAVASCRIPT = """
(() => {
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  // Figures carry a neutral ink; a page knows its own.
  const paint = (layout) => {
    layout.font = Object.assign({}, layout.font, {color: css('--ink')});
    for (const key of Object.keys(layout)) {
      if (/^[xy]axis/.test(key)) { layout[key].gridcolor = layout[key].linecolor = css('--line'); }
    }
    layout.hoverlabel = {bgcolor: css('--panel'), bordercolor: css('--line'),
                         font: {color: css('--ink')}};
    for (const menu of layout.updatemenus || []) {
      Object.assign(menu, {bgcolor: css('--panel'), bordercolor: css('--line'),
                           font: {color: css('--faint')}});
    }
    return layout;
  };
  const config = {responsive: true, displaylogo: false,
                  modeBarButtonsToRemove: ['select2d', 'lasso2d', 'autoScale2d']};
  const draw = () => {
    for (const place of document.querySelectorAll('.plot')) {
      const stored = document.getElementById('figure-' + place.dataset.figure).textContent;
      const figure = JSON.parse(stored);
      Plotly.react(place, figure.data, paint(figure.layout), config);
    }
  };
  draw();
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
})();
"""
