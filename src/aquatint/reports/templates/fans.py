"""HTML of frames with fans of sampled trajectories, seen from above."""

HTML = """
<div><style>
.fa-cards{display:grid;gap:14px;grid-template-columns:repeat(auto-fill,minmax(270px,1fr));margin:12px 0 28px}
.fa-card{margin:0;border:1px solid var(--line,#8884);border-radius:10px;overflow:hidden;font-size:13px;line-height:1.4}
.fa-card svg{display:block;width:100%;height:auto;background:#f4f3f0}
.fa-card figcaption{padding:8px 10px}
.fa-note{color:var(--faint,#808894);font-size:12px}
.fa-bar{display:inline-block;width:120px;height:8px;border-radius:4px;vertical-align:middle;margin:0 6px;background:linear-gradient(90deg,{{ ramp|join(',') }})}
</style>
<p class="fa-note">Seen from above, the agent at the bottom looks up. Grey squares: obstacles. Lines: sampled
trajectories by the critic's value, <span>low</span><span class="fa-bar"></span><span>high</span>; thick: the
chosen one; dashed: the recorded path; ring: the goal. Frames drawn by a fixed seed.</p>
<div class="fa-cards">
{% for item in items %}
<figure class="fa-card"><svg viewBox="0 0 {{ size }} {{ size }}" role="img" aria-label="{{ item.name }}">
{% for x, y in item.obstacles %}<rect x="{{ x }}" y="{{ y }}" width="{{ item.cell }}" height="{{ item.cell }}" fill="#9a9690"></rect>{% endfor %}
{% for line in item.lines %}<polyline points="{{ line.points }}" fill="none" stroke="{{ line.color }}" stroke-width="{{ line.width }}" stroke-opacity="{{ line.opacity }}"></polyline>{% endfor %}
<polyline points="{{ item.label }}" fill="none" stroke="#111" stroke-width="1.6" stroke-dasharray="4 4"></polyline>
<circle cx="{{ item.goal[0] }}" cy="{{ item.goal[1] }}" r="6" fill="none" stroke="#111" stroke-width="2"></circle>
<path d="M{{ item.start[0] }} {{ item.start[1] }}l-6 12h12z" fill="#111"></path>
</svg><figcaption>{{ item.text }}<br><span class="fa-note">{{ item.name }}</span></figcaption></figure>
{% endfor %}
</div></div>
"""
