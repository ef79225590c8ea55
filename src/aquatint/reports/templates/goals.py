"""HTML of frames with the way ahead drawn on them."""

HTML = """
<div><style>
.pg-cards{display:grid;gap:14px;grid-template-columns:repeat(auto-fill,minmax(230px,1fr));margin:12px 0 28px}
.pg-card{margin:0;border:1px solid var(--line,#8884);border-radius:10px;overflow:hidden;font-size:13px;line-height:1.4}
.pg-card svg{display:block;width:100%;height:auto}
.pg-card figcaption{padding:8px 10px}
.pg-note{color:var(--faint,#808894);font-size:12px}
</style>
<p class="pg-note">Drawn by a fixed seed, three of four with a goal. Small dots: later positions of the
agent on the ground that fall into the image, hidden or not. Ring: the goal.</p>
<div class="pg-cards">
{% for item in items %}
<figure class="pg-card"><svg viewBox="0 0 {{ size }} {{ item.height }}" role="img" aria-label="{{ item.name }}">
<image href="{{ item.uri }}" width="{{ size }}" height="{{ item.height }}"></image>
{% for x, y in item.way %}<circle cx="{{ x }}" cy="{{ y }}" r="2.4" fill="#fff" stroke="#000" stroke-opacity=".6" stroke-width=".8"></circle>{% endfor %}
{% if item.goal %}<circle cx="{{ item.goal[0] }}" cy="{{ item.goal[1] }}" r="8" fill="none" stroke="#000" stroke-opacity=".5" stroke-width="4.5"></circle><circle cx="{{ item.goal[0] }}" cy="{{ item.goal[1] }}" r="8" fill="none" stroke="#FF7A1A" stroke-width="3"></circle>{% endif %}
</svg><figcaption>{{ item.instruction }}<br><span class="pg-note">{% if item.goal %}goal {{ item.offset }} frames ahead{% else %}no goal{% endif %} · then {{ item.action }}<br>{{ item.name }}</span></figcaption></figure>
{% endfor %}
</div></div>
"""
