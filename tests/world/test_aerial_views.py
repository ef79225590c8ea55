"""Views of GeoText's scenes in words: the same scenes, the same sentences, and what lies where."""

import json
import re

from aquatint.world.aerial_views import CELL_WORDS, view_aerial_scenes
from aquatint.world.geotext import GeoTextWorldSpec, write_geotext

NUM_SCENES, NUM_VIEWS, SIZE_PX, SEED, NUM_CELLS = 3, 2, 48, 7, 4


def test_they_say_what_a_written_world_says(tmp_path):
    spec = GeoTextWorldSpec(NUM_SCENES, 1, NUM_VIEWS, SIZE_PX, SEED, has_flaws=False)
    write_geotext(tmp_path / "world", spec, num_processes=1)
    said = {}
    for record in json.loads((tmp_path / "world" / "train.json").read_text()):
        regions = " ".join(text for text in record["sentences"] if text)
        said.setdefault(record["image"], [regions] if regions else []).append(record["caption"])
    views = list(view_aerial_scenes(NUM_SCENES, NUM_VIEWS, SIZE_PX, SEED, NUM_CELLS))
    assert [view.texts for view in views] == list(said.values())


def test_words_lie_where_their_objects_are_said_to_be():
    """A small object named in the upper left has its words in the upper half, not below alone."""
    rows = {"upper": slice(0, 2), "lower": slice(2, 4)}
    checked = 0
    for view in view_aerial_scenes(8, 2, 96, SEED, NUM_CELLS):
        cells = view.word_cells.reshape(NUM_CELLS, NUM_CELLS, len(CELL_WORDS))
        for name, half in re.findall(r"[Aa]n? ([a-z ]+?) in the (upper|lower) ", view.texts[0]):
            for word in (w for w in CELL_WORDS if re.search(rf"\b{w}\b", name)):
                if cells[..., CELL_WORDS.index(word)].any():
                    assert cells[rows[half], :, CELL_WORDS.index(word)].any(), (name, half)
                    checked += 1
    assert checked > 10


def test_no_word_lies_everywhere_and_each_lies_somewhere():
    views = list(view_aerial_scenes(60, 2, SIZE_PX, SEED, NUM_CELLS))
    shares = {
        word: sum(view.word_cells[:, i].mean() for view in views) / len(views)
        for i, word in enumerate(CELL_WORDS)
    }
    assert max(shares.values()) < 0.6
    assert min(shares.values()) > 0
