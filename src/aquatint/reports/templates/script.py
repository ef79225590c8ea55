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
    layout.modebar = {bgcolor: 'rgba(0,0,0,0)', color: css('--faint'), activecolor: css('--ink')};
    layout.hoverlabel = {bgcolor: css('--panel'), bordercolor: css('--line'),
                         font: {color: css('--ink')}};
    for (const menu of layout.updatemenus || []) {
      Object.assign(menu, {bgcolor: css('--panel'), bordercolor: css('--line'),
                           font: {color: css('--faint')}});
    }
    return layout;
  };
  // Cells let the page's own background through.
  const tint = [[0, 'rgba(61, 139, 205, 0.06)'], [1, 'rgba(61, 139, 205, 0.9)']];
  const ink = (trace) => trace.type !== 'heatmap' ? trace
    : Object.assign(trace, {colorscale: tint, textfont: {size: 11, color: css('--ink')}});
  // Plotly would offer to upload a figure; a report stays where it is.
  const unused = ['sendChartToCloud', 'select2d', 'lasso2d', 'autoScale2d', 'zoomIn2d',
                  'zoomOut2d'];
  const config = {responsive: true, displaylogo: false, plotlyServerURL: '',
                  modeBarButtonsToRemove: unused,
                  displayModeBar: innerWidth > 700 ? 'hover' : false};
  const draw = () => {
    for (const place of document.querySelectorAll('.plot')) {
      const stored = document.getElementById('figure-' + place.dataset.figure).textContent;
      const figure = JSON.parse(stored);
      Plotly.react(place, figure.data.map(ink), paint(figure.layout), config);
    }
  };
  draw();
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
})();
"""
