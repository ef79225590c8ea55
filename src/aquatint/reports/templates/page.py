"""HTML of a page."""

HTML = """
{% macro show(block) %}
{% if block.kind == "text" %}
<p>{{ block.text }}</p>
{% elif block.kind == "findings" %}
<ul class="findings">
{% for tone, sentence in block.sentences %}<li class="{{ tone }}">{{ sentence }}</li>
{% endfor %}
</ul>
{% elif block.kind == "tiles" %}
<div class="tiles">
{% for label, number, note, color in block.tiles %}
<div class="tile" style="border-color:{{ color }}"><span>{{ label }}</span><b>{{ number }}</b><small>{{ note }}</small></div>
{% endfor %}
</div>
{% elif block.kind == "table" %}
<div class="scroll"><table>
<thead><tr>{% for name in block.head %}<th scope="col"{% if block.colors.get(name) %} style="border-bottom-color:{{ block.colors[name] }}"{% endif %}>{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in block.rows %}
{% if row.cells %}
<tr><th scope="row">{{ row.label }}</th>{% for cell in row.cells %}<td class="{{ cell.tone }}">{{ cell.text }}{% if cell.note %}<small>{{ cell.note }}</small>{% endif %}</td>{% endfor %}</tr>
{% else %}
<tr class="group"><th scope="rowgroup" colspan="{{ block.head | length }}">{{ row.label }}</th></tr>
{% endif %}
{% endfor %}
</tbody></table></div>
{% if block.note %}<p class="note">{{ block.note }}</p>{% endif %}
{% elif block.kind == "chart" %}
<figure class="chart">
<div class="plot" data-figure="{{ block.name }}" style="min-height:{{ block.figure.layout.height or 400 }}px"></div>
<script type="application/json" id="figure-{{ block.name }}">{{ figure_json(block.figure) }}</script>
{% if block.note %}<figcaption class="note">{{ block.note }}</figcaption>{% endif %}
</figure>
{% elif block.kind == "code" %}
{% if block.note %}<p>{{ block.note }}</p>{% endif %}
<pre><code>{{ block.text }}</code></pre>
{% elif block.kind == "gallery" %}
{{ trusted(block.html) }}
{% elif block.kind == "fold" %}
<details><summary>{{ block.title }}</summary>
{% for inner in block.blocks %}{{ show(inner) }}{% endfor %}
</details>
{% endif %}
{% endmacro %}
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>{{ title }}</title>
<style>{{ style }}</style>
</head>
<body>
<header><h1>{{ title }}</h1><p>{{ lead }}</p></header>
<nav>{% for section in sections %}<a href="#{{ section.anchor }}">{{ section.title }}</a>{% endfor %}</nav>
<main>
{% for section in sections %}
<section id="{{ section.anchor }}">
<h2>{{ section.title }}</h2>
{% for block in section.blocks %}{{ show(block) }}{% endfor %}
</section>
{% endfor %}
</main>
<script>{{ plotly }}</script>
<script>{{ script }}</script>
</body>
</html>
"""
