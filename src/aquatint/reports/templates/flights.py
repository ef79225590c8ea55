"""HTML of flights: sites with paths drawn on them, and what the camera saw."""

_STYLE = """
.fl-flight{display:grid;gap:14px;grid-template-columns:minmax(240px,330px) 1fr;align-items:start;margin:0 0 30px}
.fl-flight img{display:block;width:100%;height:auto;border-radius:8px}
.fl-strips{display:grid;gap:8px;align-content:start}
.fl-strips figure{margin:0;font-size:12px;line-height:1.4}
.fl-key{display:inline-block;width:20px;height:0;border-top:3px solid;vertical-align:middle;margin-right:5px}
.fl-note{color:var(--faint,#808894);font-size:12px}
@media (max-width:760px){.fl-flight{grid-template-columns:1fr}}
"""

HTML = (
    f"<div><style>{_STYLE}</style>"
    """
<p class="fl-note">{{ note }}</p>
<p class="fl-note">{% for name, color in keys %}<span class="fl-key" style="border-color:{{ color }}"></span>{{ name }}&emsp;{% endfor %}</p>
{% for flight in flights %}
<h3>{{ flight.instruction }}</h3>
<div class="fl-flight">
<div><img alt="site from above with the paths of all policies" src="{{ flight.site }}"><p class="fl-note">Site from above, {{ flight.edge_m }} m across. Ring: the goal. Dots: where flights begin and end.</p></div>
<div class="fl-strips">
{% for strip in flight.strips %}<figure><img alt="{{ strip.name }}: what its camera saw" src="{{ strip.uri }}"><figcaption><b>{{ strip.name }}</b>: {{ strip.outcome }}</figcaption></figure>
{% endfor %}
</div></div>
{% endfor %}</div>
"""
)
