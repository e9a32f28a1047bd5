"""Times what a frozen transformer costs in PyTorch: bench (g), beside talkflow's layers of foundation models.

An encoder's layers with random weights: a forward pass from the first hidden state to one row a sequence (the mean of its tokens after BERT's layers,
its first token after a ViT's), and with `--back` on to the gradient of that first state, which is the only one that wants a gradient. Queries, keys and
values are one product, attention is `scaled_dot_product_attention`, so all that PyTorch has of fused kernels is used. Of sequences that differ in
length, shorter ones are padded and masked. Variants: `eager` (`inference_mode` where nothing goes back) and `compile`. A process measures
one thing, and says its peak of memory.
"""

import argparse
import resource
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F

from common import guarded, settle, use_threads

WIDTH = 384
# Layers, heads, whether norms come first, the norm's eps.
MODELS = {"minilm": (6, 12, False, 1e-12), "vit-s": (12, 6, True, 1e-6)}


class Layer(nn.Module):
    def __init__(self, heads: int, norm_first: bool, eps: float):
        super().__init__()
        self.heads, self.norm_first = heads, norm_first
        self.attend, self.gather = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.widen, self.narrow = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.first, self.second = nn.LayerNorm(WIDTH, eps), nn.LayerNorm(WIDTH, eps)

    def attention(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        batch, tokens, _ = x.shape
        parts = self.attend(x).view(batch, tokens, 3, self.heads, WIDTH // self.heads).permute(2, 0, 3, 1, 4)
        heads = F.scaled_dot_product_attention(*parts.unbind(0), attn_mask=mask)
        return self.gather(heads.transpose(1, 2).reshape(batch, tokens, WIDTH))

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        if self.norm_first:
            x = x + self.attention(self.first(x), mask)
            return x + self.narrow(F.gelu(self.widen(self.second(x))))
        x = self.first(x + self.attention(x, mask))
        return self.second(x + self.narrow(F.gelu(self.widen(x))))


class Encoder(nn.Module):
    def __init__(self, layers: int, heads: int, norm_first: bool, eps: float):
        super().__init__()
        self.layers = nn.ModuleList(Layer(heads, norm_first, eps) for _ in range(layers))
        self.end = nn.LayerNorm(WIDTH, eps) if norm_first else None

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None, weights: torch.Tensor | None) -> torch.Tensor:
        """(batch, tokens, width) to (batch, width); `weights` (batch, tokens, 1) say which tokens a mean is of."""
        for layer in self.layers:
            x = layer(x, mask)
        if self.end is not None:
            return self.end(x)[:, 0]
        return x.mean(1) if weights is None else (x * weights).sum(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=list(MODELS), default="minilm")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--tokens", default="32", help="of each sequence; where there are several, sequences have them in turns")
    parser.add_argument("--back", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--variant", choices=["eager", "compile"], default="eager")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    use_threads(arguments.threads)
    torch.manual_seed(1)
    device = torch.device(arguments.device)
    encoder = Encoder(*MODELS[arguments.model]).eval().requires_grad_(False).to(device)
    each = [int(tokens) for tokens in arguments.tokens.split(",")]
    lengths = torch.tensor([each[at % len(each)] for at in range(arguments.batch)])
    longest, rows = int(lengths.max()), int(lengths.sum())
    x = torch.randn(arguments.batch, longest, WIDTH, device=device)
    seed = torch.randn(arguments.batch, WIDTH, device=device)
    mask = weights = None
    if rows < arguments.batch * longest:
        there = torch.arange(longest)[None, :] < lengths[:, None]
        mask = there[:, None, None, :].to(device)
        weights = (there / lengths[:, None]).float()[:, :, None].to(device)
    run = torch.compile(encoder) if arguments.variant == "compile" else encoder

    def step() -> None:
        if arguments.back:
            leaf = x.detach().requires_grad_()
            run(leaf, mask, weights).backward(seed)
            assert leaf.grad is not None
        else:
            with torch.inference_mode():
                run(x, mask, weights)

    def measure() -> dict[str, object]:
        for _ in range(3):
            step()
        settle()
        times, begin, cpu = [], time.perf_counter(), time.process_time()
        while len(times) < 3 or time.perf_counter() - begin < arguments.seconds:
            at = time.perf_counter()
            step()
            settle()
            times.append(time.perf_counter() - at)
        cpu = 1e3 * (time.process_time() - cpu) / len(times) / arguments.batch
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        rate = arguments.batch / statistics.median(times)
        best = arguments.batch / min(times)
        return {"samples_per_second": round(rate, 2), "best": round(best, 2), "cpu_ms": round(cpu, 2), "peak_mib": memory}

    fields = {"bench": "transformers", "variant": arguments.variant, "model": arguments.model, "batch": arguments.batch}
    fields |= {"tokens": arguments.tokens, "back": arguments.back, "threads": arguments.threads}
    guarded(fields, measure)


if __name__ == "__main__":
    main()
