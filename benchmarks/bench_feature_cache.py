"""Stage 1 from cached features against running the frozen backbone in every step.

Run with ``make bench``. Both ways take the same steps on a random pocket backbone; the losses of
the first step are compared.
"""

import statistics
import tempfile
import time

import numpy as np
import torch

from aquatint.features.cache import FeatureStore, build_cache
from aquatint.features.frozen import Encoding, cache_image_tokens
from aquatint.models.backbone import Backbone, encode_image_tokens
from aquatint.models.dual_encoder import DualEncoder
from aquatint.models.pixels import PixelNormalizer
from aquatint.models.pocket import internvl_config, random_internvl, train_tokenizer

NUM_IMAGES, BATCH, ROUNDS = 512, 64, 3


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = train_tokenizer(["a red house in the centre"], 400)
        config = internvl_config(
            width=96, num_blocks=2, image_size_px=96, patch_size_px=12, tokenizer=tokenizer
        )
        random_internvl(config, 0).save_pretrained(f"{folder}/backbone")
        tokenizer.save_pretrained(f"{folder}/backbone")
        path = f"{folder}/backbone"
        backbone = Backbone(path, "bench", "pocket")
        measure(backbone, FeatureStore(f"{folder}/store", 1))


def measure(backbone: Backbone, store: FeatureStore) -> None:
    images = np.random.default_rng(0).integers(0, 255, (NUM_IMAGES, 96, 96, 3), dtype=np.uint8)
    keys = [str(i) for i in range(NUM_IMAGES)]
    pixels = build_cache(store, {"bench": 1}, keys, lambda rows: images[list(rows)])
    start = time.process_time()
    cache = cache_image_tokens(store, backbone, pixels, keys, 8, Encoding(64, "float32", "cpu"))
    building = time.process_time() - start
    reader, model = cache.open(), backbone.load()
    places = reader.places(keys)
    normalize = PixelNormalizer(*backbone.image_statistics)
    heads = DualEncoder(vision_width=96, text_width=96, is_enhanced=False)

    def epoch(read) -> tuple[float, float]:
        start, first = time.process_time(), 0.0
        for begin in range(0, NUM_IMAGES, BATCH):
            tokens = read(slice(begin, begin + BATCH))
            loss = heads.eval().encode_image(tokens).embeds.pow(3).sum()
            loss.backward()
            first = first or float(loss.detach())
        return time.process_time() - start, first

    def cached(rows: slice) -> torch.Tensor:
        return torch.from_numpy(reader.read(places[rows]))

    @torch.no_grad()
    def live(rows: slice) -> torch.Tensor:
        return encode_image_tokens(model, normalize(torch.from_numpy(images[rows])))

    results = [(epoch(cached), epoch(live)) for _ in range(ROUNDS)]
    ours = statistics.median(result[0][0] for result in results)
    theirs = statistics.median(result[1][0] for result in results)
    difference = abs(results[0][0][1] - results[0][1][1])
    print(f"adapter epoch, {NUM_IMAGES} images, pocket backbone, torch {torch.__version__}")
    print(f"difference of the first loss {difference:.1e}")
    print(f"building the cache {building:.2f} CPU s, once")
    print(f"cached features    {ours:.2f} CPU s an epoch")
    print(f"live backbone      {theirs:.2f} CPU s an epoch")
    print(f"ratio              {theirs / ours:.1f}")


if __name__ == "__main__":
    main()
