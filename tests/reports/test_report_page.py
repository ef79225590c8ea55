import re
from html import escape, unescape
from html.parser import HTMLParser

import plotly.graph_objects as go
import pytest
from plotly.offline import get_plotlyjs
from report_fixture import ROBUSTNESS, make_results, make_trainings

from aquatint.reports.curves import draw_losses, draw_progress
from aquatint.reports.figures import draw_confusion, draw_recalls, draw_robustness
from aquatint.reports.result_sections import flatten, show_number
from aquatint.reports.retrieval_report import ReportInputs, render_retrieval_report, summarise

SCRIPT = "<script>alert(1)</script>"


def make_ingestion() -> dict:
    counted = {"count": 3, "n": 70}
    sides = {"horizontal": {**counted, "region_ids": []}, "vertical": {**counted, "region_ids": []}}
    names = ("image_files", "readable_images", "captions_of_images", "sentences", "boxes")
    split = {"images": 24, "buildings": 12, "captions": 48, "regions": 70, "boxes": 66}
    return {
        "splits": {"test": split, "train": {**split, "images": 240}},
        "missing": dict.fromkeys(names, counted),
        "bad_boxes": counted,
        "duplicates": {"captions": 1, "files": 0, "n": 24},
        "leakage": {"buildings": {}, "num_files": 0, "images": [], "n": 24},
        "side_contradictions": sides,
        "rejects": {"findings": 2, "records": 2, "per_rule": {"image must exist": 2}},
        "n": {"images": 24, "captions": 48, "regions": 70},
    }


def make_inputs(results, **changes) -> ReportInputs:
    metrics = results["metrics"]
    figures = {
        "loss": draw_losses(results["trainings"]),
        "progress": draw_progress(results["trainings"], 0.3),
        "recall": draw_recalls(metrics),
        "confusion": draw_confusion(metrics["stage2"]["spatial"]),
        "robustness": draw_robustness(ROBUSTNESS, 0.4),
    }
    given = {
        "recipe": "two_stage",
        "comparison": results["comparison"],
        "metrics": metrics,
        "figures": figures,
        "samples": '<div class="ag">a gallery</div>',
        "robustness": ROBUSTNESS,
        "ingestion": make_ingestion(),
        "near_duplicates": {
            "max_distance": 2,
            "splits": {"test-train": {"num_pairs": 5, "num_images": 4, "n": 90, "examples": []}},
        },
    }
    return ReportInputs(**{**given, **changes})


@pytest.fixture(scope="module")
def results():
    return make_results()


@pytest.fixture(scope="module")
def page(results):
    return render_retrieval_report(make_inputs(results))


class Rows(HTMLParser):
    """Collects the cells of every table row of a page, and the tags that were opened."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self._in_cell = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self._in_cell = self._in_cell or tag in ("td", "th")

    def handle_endtag(self, tag):
        self._in_cell = self._in_cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self._in_cell:
            self.rows[-1][-1] += data


def test_every_number_of_the_metrics_is_in_the_page(results, page):
    rows = {row[0]: row[1:] for row in Rows(page).rows}
    num_checked = 0
    for column, metrics in enumerate(results["metrics"].values()):
        for name, value in flatten(metrics):
            assert rows[name][column] == show_number(value)
            num_checked += 1
    assert num_checked > 250
    assert rows["text_to_image.n"] == ["48"] * 4


def test_the_headline_stands_beside_chance_with_interval_and_n(results, page):
    row = next(row for row in Rows(page).rows if row and row[0] == "text → image R@10")
    recall = results["metrics"]["stage2"]["text_to_image"]
    low, high = recall["recall_at_10_interval"]
    shown = f"{100 * recall['recall_at_10']:.1f}\u202f%{100 * low:.1f} to {100 * high:.1f}"
    assert row[1] == "40.0\u202f%"
    assert row[4] == shown
    assert row[6] == "48"


def test_a_better_order_has_the_chance_of_any_order(page):
    rows = [row for row in Rows(page).rows if row and row[0] == "text → image R@10"]
    # Of the building, of the very image, re-ranked; then the differences.
    assert [row[1] for row in rows[:3]] == ["40.0\u202f%"] * 3


def test_what_is_not_measured_is_a_dash(page):
    row = next(row for row in Rows(page).rows if row and row[0] == "mean IoU")
    assert row[2:4] == ["–", "–"]
    assert row[4] == "0.333"


def test_untrained_and_trained_weights_give_different_reports(results, page):
    untrained = make_results(dict.fromkeys(results["metrics"], 20.0))
    other = render_retrieval_report(make_inputs(untrained))
    tables, others = Rows(page).rows, Rows(other).rows
    changed = [row[0] for row, new in zip(tables, others, strict=True) if row != new]
    for label in ("text → image R@10", "mean of the six", "mean IoU", "both axes right"):
        assert label in changed
    recalls = [re.findall(r'id="figure-recall">(.*?)</script>', text) for text in (page, other)]
    assert recalls[0] != recalls[1]
    assert "Two stages beat one" in page
    assert "Two stages do not beat one" in other


def test_the_same_results_give_the_same_page(results, page):
    assert render_retrieval_report(make_inputs(results)) == page


def test_what_users_wrote_is_escaped(results):
    comparison = {**results["comparison"]}
    lineages = {part: {**line} for part, line in comparison["lineages"].items()}
    lineages["stage1"]["backbone"] = {"name": SCRIPT, "digest": SCRIPT}
    lineages["stage2"]["parents"] = [{"stage": SCRIPT, "version": SCRIPT, "digest": SCRIPT}]
    lineages["baseline"]["params"] = {SCRIPT: SCRIPT}
    lineages["baseline"]["data"] = {SCRIPT: SCRIPT}
    comparison |= {"lineages": lineages, "versions": dict.fromkeys(lineages, SCRIPT)}
    ingestion = make_ingestion()
    ingestion["rejects"]["per_rule"] = {f"{SCRIPT} must exist": 1}
    ingestion["splits"][SCRIPT] = ingestion["splits"]["test"]
    inputs = make_inputs(
        results,
        recipe=SCRIPT,
        comparison=comparison,
        ingestion=ingestion,
        robustness=ROBUSTNESS.assign(corruption=SCRIPT),
    )
    page = render_retrieval_report(inputs)
    assert page.count(escape(SCRIPT)) > 10
    assert SCRIPT not in page
    # Five figures, plotly and our own script.
    assert Rows(page).tags.count("script") == 7


def test_a_figure_cannot_end_its_element(results):
    figure = go.Figure(layout={"title": f"</script>{SCRIPT}<!-- & --> \u2028"})
    figures = {**make_inputs(results).figures, "recall": figure}
    page = render_retrieval_report(make_inputs(results, figures=figures))
    assert SCRIPT not in page
    assert Rows(page).tags.count("script") == 7


def test_the_page_needs_no_network(page):
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page).group(1)
    assert policy.startswith("default-src 'none'; img-src data: blob:;")
    ours = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", ours)
    assert "@import" not in ours
    assert "url(" not in ours
    assert page.count(get_plotlyjs()) == 1
    # Plotly's own button would upload the figure.
    ours_again = page.replace(get_plotlyjs(), "")
    assert "'sendChartToCloud'" in ours_again
    assert "plotlyServerURL: ''" in ours_again


def test_every_place_in_the_contents_exists(page):
    anchors = re.findall(r'<a href="#([^"]+)"', page)
    assert len(anchors) == 8
    for anchor in anchors:
        assert page.count(f'<section id="{anchor}">') == 1


def test_the_commands_pin_the_versions_shown(page):
    assert (
        "kedro run --pipelines=two_stage --tags=eval,report --load-versions="
        "two_stage.stage1.checkpoint:V1,two_stage.stage2.checkpoint:V1,"
        "two_stage.baseline.checkpoint:V1"
    ) in page


def test_a_version_that_is_no_plain_word_is_quoted_for_the_shell(results):
    comparison = {**results["comparison"], "versions": {"stage1": "V1; rm -rf ~"}}
    page = render_retrieval_report(make_inputs(results, comparison=comparison))
    pinned = "--load-versions='two_stage.stage1.checkpoint:V1; rm -rf ~'"
    assert unescape(page).count(pinned) == 2


def test_a_leak_is_named(results, page):
    assert "images nearly alike in test and train" in render_retrieval_report(make_inputs(results))
    ingestion = make_ingestion()
    ingestion["leakage"] |= {"buildings": {"0001": ["train", "test"]}, "num_files": 2}
    leaking = render_retrieval_report(make_inputs(results, ingestion=ingestion))
    assert "Leak: 1 buildings and 2 identical files" in leaking
    assert "Leak:" not in page


def test_a_target_that_nobody_reached_is_said_to_be_so(results):
    trainings = make_trainings(stage1=(0.1, 0.1), stage2=(0.1, 0.2), baseline=(0.1, 0.1, 0.1, 0.1))
    comparison = {**results["comparison"]}
    row = {"target": 0.3, "reason": "given", "two_stage": None, "baseline": None, "ratio": None}
    comparison["time_to_target"] = [row, comparison["time_to_target"][1]]
    page = render_retrieval_report(
        make_inputs({**results, "trainings": trainings}, comparison=comparison)
    )
    assert ["steps", "not reached", "not reached", "–"] in Rows(page).rows


def test_the_worst_corruption_is_named_with_chance(page):
    assert "The worst of 4 corruptions is blur of severity 5" in page
    assert "R@10 10.0\u202f% (chance: 40.0\u202f%)" in page


def test_the_summary_is_a_table_of_equal_rows(results):
    text = summarise("two_stage", results["comparison"])
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) > 20
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {8}
    for verdict in results["comparison"]["verdicts"]:
        assert f"- {verdict['text']}" in text
