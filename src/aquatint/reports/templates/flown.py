"""HTML of maps with flown paths."""

HTML = """
<div><style>
.fl-cards{display:grid;gap:14px;grid-template-columns:repeat(auto-fill,minmax(250px,1fr));margin:12px 0 28px}
.fl-card{margin:0;border:1px solid var(--line,#8884);border-radius:10px;overflow:hidden;font-size:13px;line-height:1.4}
.fl-card svg{display:block;width:100%;height:auto}
.fl-card figcaption{padding:8px 10px}
.fl-note{color:var(--faint,#808894);font-size:12px}
.fl-key{display:inline-block;width:18px;height:4px;border-radius:2px;vertical-align:middle;margin:0 4px 0 12px}
</style>
<p class="fl-note">Seen from above, drawn by a fixed seed; the darker, the higher. Circle: start; squares: ends.
{% for label, color in colors.items() %}<span class="fl-key" style="background:{{ color }}"></span>{{ label }}{% endfor %}</p>
<div class="fl-cards">
{% for item in items %}
<figure class="fl-card"><svg viewBox="0 0 {{ size }} {{ size }}" role="img" aria-label="{{ item.name }}">
<image href="{{ item.uri }}" width="{{ size }}" height="{{ size }}"></image>
{% for disc in item.discs %}<circle cx="{{ disc.x }}" cy="{{ disc.y }}" r="{{ disc.r }}" fill="{{ disc.color }}" fill-opacity=".75" stroke="#0006"></circle>{% endfor %}
{% for path in item.paths %}<polyline points="{{ path.points }}" fill="none" stroke="{{ path.color }}" stroke-width="2.6" stroke-opacity=".9"></polyline><rect x="{{ path.end[0] }}" y="{{ path.end[1] }}" width="9" height="9" transform="translate(-4.5 -4.5)" fill="{{ path.color }}" stroke="#fff"></rect>{% endfor %}
<circle cx="{{ item.start[0] }}" cy="{{ item.start[1] }}" r="5" fill="#fff" stroke="#000" stroke-width="1.5"></circle>
</svg><figcaption>{{ item.text }}<br><span class="fl-note">{{ item.name }}</span></figcaption></figure>
{% endfor %}
</div></div>
"""
