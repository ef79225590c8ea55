"""HTML of inspected objects and photographs, with the few rules of style it needs on its own."""

_STYLE = """
.io-cards{display:grid;gap:14px;grid-template-columns:repeat(auto-fill,minmax(208px,1fr));margin:12px 0 28px}
.io-card{margin:0;border:1px solid var(--line,#8884);border-radius:10px;overflow:hidden;font-size:13px;line-height:1.4}
.io-card img{display:block;width:100%;height:auto;border-top:5px solid #B54708}
.io-card.io-right img{border-top-color:#1A7F4B}
.io-card figcaption{padding:8px 10px}
.io-note{color:var(--faint,#808894);font-size:12px}
.io-photo{display:grid;gap:14px;grid-template-columns:minmax(240px,420px) 1fr;align-items:start;margin:0 0 26px}
.io-frame{position:relative}
.io-frame img{display:block;width:100%;height:auto;border-radius:8px}
.io-frame svg{position:absolute;inset:0;width:100%;height:100%}
.io-list{display:grid;gap:10px;grid-template-columns:repeat(auto-fill,minmax(132px,1fr))}
.io-list figure{margin:0;font-size:12px;line-height:1.35}
.io-list img{width:100%;border-radius:6px;display:block;border-top:5px solid #8C8C8C}
@media (max-width:700px){.io-photo{grid-template-columns:1fr}}
"""

OBJECTS = (
    f"<div><style>{_STYLE}</style>"
    """
<h3>{{ title }}</h3>
<p class="io-note">{{ note }}</p>
<div class="io-cards">
{% for item in objects %}
<figure class="io-card{% if item.is_right %} io-right{% endif %}">
<img alt="crop of {{ item.target }}" src="{{ item.uri }}">
<figcaption><b>{{ item.target }}</b><br>tuned: {{ item.tuned }}<br>zero-shot: {{ item.untouched }}<br><span class="io-note">{{ item.name }}</span></figcaption>
</figure>
{% endfor %}
</div></div>
"""
)

PHOTOS = (
    f"<div><style>{_STYLE}</style>"
    """
{% for photo in photos %}
<h3>{{ photo.name }}</h3>
<div class="io-photo">
<div class="io-frame"><img alt="photograph {{ photo.name }}" src="{{ photo.uri }}">
<svg viewBox="0 0 100 100" preserveAspectRatio="none">
{% for item in photo.objects %}<rect x="{{ item.x }}" y="{{ item.y }}" width="{{ item.width }}" height="{{ item.height }}" fill="none" stroke="{{ item.color }}" stroke-width="3" vector-effect="non-scaling-stroke"></rect>{% endfor %}
</svg></div>
<div class="io-list">
{% for item in photo.objects %}
<figure><img alt="{{ item.text }}" src="{{ item.uri }}" style="border-top-color:{{ item.color }}"><figcaption><b>{{ item.text }}</b><br><span class="io-note">{{ item.note }}</span></figcaption></figure>
{% else %}<p class="io-note">Nothing was detected.</p>
{% endfor %}
</div></div>
{% endfor %}</div>
"""
)
