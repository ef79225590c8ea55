"""HTML of frames with the pixel that a model named and the one it should have named."""

HTML = """
<div><style>
.pp-cards{display:grid;gap:14px;grid-template-columns:repeat(auto-fill,minmax(210px,1fr));margin:12px 0 28px}
.pp-card{margin:0;border:1px solid var(--line,#8884);border-radius:10px;overflow:hidden;font-size:13px;line-height:1.4}
.pp-card svg{display:block;width:100%;height:auto}
.pp-card figcaption{padding:8px 10px}
.pp-note{color:var(--faint,#808894);font-size:12px}
</style>
<p class="pp-note">Look-down images of held-out flights, drawn by a fixed seed. Ring: the goal that depth and poses give.
Cross: what System 2 named.</p>
<div class="pp-cards">
{% for item in items %}
<figure class="pp-card"><svg viewBox="0 0 {{ size }} {{ item.height }}" role="img" aria-label="{{ item.name }}">
<image href="{{ item.uri }}" width="{{ size }}" height="{{ item.height }}"></image>
<circle cx="{{ item.goal[0] }}" cy="{{ item.goal[1] }}" r="9" fill="none" stroke="#000" stroke-opacity=".55" stroke-width="5"></circle><circle cx="{{ item.goal[0] }}" cy="{{ item.goal[1] }}" r="9" fill="none" stroke="#fff" stroke-width="3"></circle>
{% if item.named %}<g stroke="#000" stroke-opacity=".55" stroke-width="5.5"><path d="M-7 -7L7 7M7 -7L-7 7" transform="translate({{ item.named[0] }} {{ item.named[1] }})"></path></g><g stroke="#FF7A1A" stroke-width="3.2"><path d="M-7 -7L7 7M7 -7L-7 7" transform="translate({{ item.named[0] }} {{ item.named[1] }})"></path></g>{% endif %}
</svg><figcaption>{{ item.instruction }}<br><span class="pp-note">{{ item.outcome }}<br>{{ item.name }}</span></figcaption></figure>
{% endfor %}
</div></div>
"""
