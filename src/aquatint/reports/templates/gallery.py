"""HTML of a gallery, with the few rules of style it needs on its own."""

HTML = """
<div class="ag">
<style>
.ag-cards{display:grid;gap:14px;grid-template-columns:repeat(auto-fill,minmax(min(100%,460px),1fr));margin:12px 0 28px}
.ag-card{border:1px solid var(--line,#8884);border-radius:10px;padding:12px 14px;overflow:hidden}
.ag-text{margin:0 0 6px;line-height:1.4}
.ag-note{color:var(--faint,#808894);font-size:12px;line-height:1.5;margin:0 0 8px}
.ag-rank{border-radius:5px;padding:1px 7px;font-weight:600;color:#fff;background:#B54708}
.ag-rank.ag-hit{background:#1A7F4B}
.ag-row{display:grid;grid-template-columns:repeat(6,1fr);gap:6px}
.ag-shot{margin:0;font-size:11px;line-height:1.35;color:var(--faint,#808894);text-align:center}
.ag-shot img{display:block;width:100%;height:auto;border-radius:5px;outline:3px solid transparent;outline-offset:-3px}
.ag-shot.ag-right img{outline-color:#22B36B}
.ag-shot.ag-own img{outline-style:double;outline-width:6px;outline-offset:-6px}
.ag-shot.ag-first img{outline:2px dashed var(--ink,#808894);outline-offset:1px}
.ag-shot figcaption{margin-top:5px}
.ag-pair{display:grid;grid-template-columns:minmax(130px,200px) 1fr;gap:14px;align-items:start}
.ag-pair svg{width:100%;height:auto;border-radius:6px;display:block}
.ag-list{list-style:none;margin:0;padding:0;font-size:13px;line-height:1.4}
.ag-list li{margin:0 0 8px;padding-left:16px;position:relative}
.ag-swatch{position:absolute;left:0;top:4px;width:10px;height:10px;border-radius:2px;border:1px solid #0006}
@media (max-width:560px){.ag-row{grid-template-columns:repeat(3,1fr)}.ag-pair{grid-template-columns:1fr}.ag-pair svg{max-width:260px}}
</style>
<h3>Captions and the images found</h3>
<p class="ag-note">By {{ part }}, on the test split. The captions stand at even steps from the best to
the worst ranked one of all, so hits and misses appear in proportion; a fixed seed decides among
equals. Dashed: the image that the caption was written for; then the five nearest. Green: the right
building; double line: the very image. Ranks of the right building, by the other parts too; below
each image its building.</p>
<div class="ag-cards">
{% for sample in retrievals %}
<article class="ag-card">
<p class="ag-text">{{ sample.text }}</p>
<p class="ag-note"><span class="ag-rank{% if sample.is_found %} ag-hit{% endif %}">rank {{ sample.rank }}</span>
{% if not sample.is_found %}miss: not among the five{% endif %}
{% if sample.others %} · {{ sample.others }}{% endif %}</p>
<div class="ag-row">
<figure class="ag-shot ag-first"><img alt="image of the caption" src="{{ sample.target.uri }}"><figcaption>wanted<br>{{ sample.target.building_id }}</figcaption></figure>
{% for shot in sample.found %}
<figure class="ag-shot{% if shot.is_right %} ag-right{% endif %}{% if shot.is_own %} ag-own{% endif %}"><img alt="found image {{ shot.place }}" src="{{ shot.image.uri }}"><figcaption>{{ shot.place }}<br>{{ shot.image.building_id }}</figcaption></figure>
{% endfor %}
</div>
</article>
{% endfor %}
</div>
{% if boxes %}
<h3>Sentences and their boxes</h3>
<p class="ag-note">Solid: annotated box. Dashed: predicted box. Images stand at even steps of mean IoU,
from the best to the worst.</p>
<div class="ag-cards">
{% for sample in boxes %}
<article class="ag-card">
<div class="ag-pair">
<svg viewBox="0 0 {{ sample.image.width }} {{ sample.image.height }}" role="img" aria-label="image with boxes">
<image href="{{ sample.image.uri }}" width="{{ sample.image.width }}" height="{{ sample.image.height }}" preserveAspectRatio="none"></image>
{% for sentence in sample.sentences %}
{% for box in sentence.rectangles %}
<rect x="{{ box.x }}" y="{{ box.y }}" width="{{ box.width }}" height="{{ box.height }}" fill="none" stroke="#000" stroke-opacity=".45" stroke-width="3.5" vector-effect="non-scaling-stroke"></rect>
<rect x="{{ box.x }}" y="{{ box.y }}" width="{{ box.width }}" height="{{ box.height }}" fill="none" stroke="{{ sentence.color }}" stroke-width="2"{% if box.is_predicted %} stroke-dasharray="5 4"{% endif %} vector-effect="non-scaling-stroke"></rect>
{% endfor %}
{% endfor %}
</svg>
<div>
<p class="ag-note">building {{ sample.image.building_id }}</p>
<ul class="ag-list">
{% for sentence in sample.sentences %}
<li><span class="ag-swatch" style="background:{{ sentence.color }}"></span>{{ sentence.text }} <span class="ag-note">IoU {{ sentence.iou }}</span></li>
{% endfor %}
</ul>
</div>
</div>
</article>
{% endfor %}
</div>
{% endif %}
</div>
"""
