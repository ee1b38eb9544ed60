"""Writes the checkpoints and outputs of the folders rope-* and the frequencies in rope.json.

usage: make_rope_golden.py OUT        (needs: torch, transformers >= 5, safetensors)

The reference is transformers' MixtralForCausalLM in float32 on the weights as stored (bf16). A prompt is read at once,
except with "dynamic" scaling, whose frequencies follow the length read so far: there it is read token by token, into
the reference's own cache. Seeds are searched until no greedy step and no routing decision hangs on the last bits.
"""
import json, pathlib, sys

import torch
from safetensors.torch import save_file
from transformers import DynamicCache, MixtralConfig, MixtralForCausalLM
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

SIZES = {"vocab_size": 96, "hidden_size": 48, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "head_dim": 32, "num_local_experts": 4, "num_experts_per_tok": 2, "rms_norm_eps": 1e-5,
         "bos_token_id": 1, "eos_token_id": 2}
# How a file writes each kind; older and newer spellings on purpose.
CASES = {
    "rope-linear": {"max_position_embeddings": 128, "rope_theta": 1e4, "rope_scaling": {"type": "linear", "factor": 4.0}},
    "rope-dynamic": {"max_position_embeddings": 32, "rope_theta": 1e4,
                     "rope_scaling": {"rope_type": "dynamic", "factor": 4.0}},
    "rope-llama3": {"max_position_embeddings": 128, "rope_theta": 1e4,
                    "rope_scaling": {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0,
                                     "high_freq_factor": 4.0, "original_max_position_embeddings": 32}},
    "rope-yarn": {"max_position_embeddings": 128,
                  "rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0,
                                      "original_max_position_embeddings": 32}},
    "rope-yarn-mscale": {"max_position_embeddings": 128, "rope_theta": 1e4,
                         "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32,
                                          "beta_fast": 8, "beta_slow": 2, "mscale": 1.5, "mscale_all_dim": 0.5,
                                          "truncate": False}},
}
LENGTHS = [(20, None), (100, [0, 15, 31, 32, 33, 63, 64, 98, 99])]  # of a prompt, and the positions that are kept


def random_weights(g):
    c = SIZES
    hidden, ffn, q = c["hidden_size"], c["intermediate_size"], c["num_attention_heads"] * c["head_dim"]
    kv = c["num_key_value_heads"] * c["head_dim"]

    def normal(rows, cols, gain):
        return torch.randn(rows, cols, generator=g) * gain / cols ** 0.5

    def norm():
        return 1 + 0.2 * torch.randn(hidden, generator=g)

    w = {"model.embed_tokens.weight": torch.randn(c["vocab_size"], hidden, generator=g), "model.norm.weight": norm(),
         "lm_head.weight": normal(c["vocab_size"], hidden, 2.0)}
    for layer in range(c["num_hidden_layers"]):
        p = f"model.layers.{layer}."
        w |= {p + "input_layernorm.weight": norm(), p + "post_attention_layernorm.weight": norm(),
              p + "self_attn.q_proj.weight": normal(q, hidden, 1.6), p + "self_attn.k_proj.weight": normal(kv, hidden, 1.6),
              p + "self_attn.v_proj.weight": normal(kv, hidden, 1.0), p + "self_attn.o_proj.weight": normal(hidden, q, 1.5),
              p + "block_sparse_moe.gate.weight": normal(c["num_local_experts"], hidden, 2.0)}
        for e in range(c["num_local_experts"]):
            x = p + f"block_sparse_moe.experts.{e}."
            w |= {x + "w1.weight": normal(ffn, hidden, 1.3), x + "w3.weight": normal(ffn, hidden, 1.3),
                  x + "w2.weight": normal(hidden, ffn, 1.5)}
    return {k: v.bfloat16().float() for k, v in w.items()}


def make_model(config, w):
    model = MixtralForCausalLM(MixtralConfig(**json.loads(json.dumps(config)))).float().eval()
    experts = range(SIZES["num_local_experts"])
    for name, target in model.state_dict().items():
        p = name.rsplit("mlp.experts.", 1)[0] + "block_sparse_moe.experts."
        if name.endswith("gate_up_proj"):
            value = torch.stack([torch.cat([w[f"{p}{e}.w1.weight"], w[f"{p}{e}.w3.weight"]]) for e in experts])
        elif name.endswith("down_proj"):
            value = torch.stack([w[f"{p}{e}.w2.weight"] for e in experts])
        else:
            value = w[name.replace("mlp.gate", "block_sparse_moe.gate")]
        target.copy_(value)
    return model


@torch.no_grad()
def run(model, ids, one_by_one):
    """Logits of every position, and the smallest gap between an expert that is chosen and one that is not."""
    pieces = [[i] for i in ids] if one_by_one else [ids]
    cache, logits, gap = DynamicCache(), [], float("inf")
    for piece in pieces:
        out = model(torch.tensor([piece]), past_key_values=cache, use_cache=True, output_router_logits=True)
        logits.append(out.logits[0])
        for r in out.router_logits:
            ranked = r.float().sort(-1, descending=True).values
            gap = min(gap, (ranked[..., 1] - ranked[..., 2]).min().item())
    return torch.cat(logits), gap


def find_prompt(model, length, one_by_one, seed):
    for s in range(seed, seed + 400):
        g = torch.Generator().manual_seed(s)
        ids = [1] + torch.randint(3, SIZES["vocab_size"], (length - 1,), generator=g).tolist()
        logits, gap = run(model, ids, one_by_one)
        if gap < 1e-4:
            continue
        margin, greedy = float("inf"), []
        for _ in range(16):
            last = run(model, ids + greedy, one_by_one)[0][-1] if greedy else logits[-1]
            top = last.topk(2)
            margin = min(margin, (top.values[0] - top.values[1]).item() / last.abs().max().item())
            greedy.append(top.indices[0].item())
            if margin < 2e-3:
                break
        if margin >= 2e-3:
            return ids, logits, greedy, margin, gap
    raise SystemExit("no prompt with safe margins")


def make(name, rope, out, seed):
    config = SIZES | rope
    w = random_weights(torch.Generator().manual_seed(seed))
    model, one_by_one = make_model(config, w), name == "rope-dynamic"
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    tensors, prompts = {}, []
    for i, (length, positions) in enumerate(LENGTHS):
        ids, logits, greedy, margin, gap = find_prompt(model, length, one_by_one, 1000 * seed + 500 * i)
        positions = positions or list(range(length))
        tensors[f"prompt{i}.logits"] = logits[positions].contiguous()
        prompts.append({"ids": ids, "positions": positions, "greedy": greedy, "smallest_greedy_margin": margin,
                        "smallest_routing_gap": gap})
        print(name, length, f"margin {margin:.2g} gap {gap:.2g}", flush=True)
    config |= {"architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "hidden_act": "silu",
               "torch_dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (folder / "prompts.json").write_text(json.dumps({"prompts": prompts}) + "\n")
    save_file({k: v.bfloat16().contiguous() for k, v in w.items()}, folder / "model.safetensors")
    save_file(tensors, folder / "expected.safetensors")


def frequencies(out):
    """The reference's frequencies and attention factor of configurations of Mixtral's size."""
    cases = []
    sizes = SIZES | {"hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128}
    scalings = [
        (32768, 1e6, {"rope_type": "linear", "factor": 4.0}, None),
        (32768, 1e6, {"rope_type": "linear", "factor": 1.5}, None),
        (32768, 1e6, {"rope_type": "dynamic", "factor": 2.0}, 20000),
        (32768, 1e6, {"rope_type": "dynamic", "factor": 2.0}, 32769),
        (32768, 1e6, {"rope_type": "dynamic", "factor": 8.0}, 200000),
        (131072, 5e5, {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                       "original_max_position_embeddings": 8192}, None),
        (131072, 1e6, {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}, None),
        (131072, 1e6, {"rope_type": "yarn", "factor": 4.0}, None),
        (131072, 1e4, {"rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 4096,
                       "beta_fast": 16, "beta_slow": 2, "truncate": False}, None),
        (131072, 1e4, {"rope_type": "yarn", "factor": 40.0, "original_max_position_embeddings": 4096, "mscale": 0.7,
                       "mscale_all_dim": 1.3}, None),
        (131072, 1e4, {"rope_type": "yarn", "factor": 16.0, "original_max_position_embeddings": 8192,
                       "attention_factor": 1.25}, None),
        (8192, 1e4, {"rope_type": "yarn", "factor": 1.0, "original_max_position_embeddings": 8192}, None),
    ]
    for positions, theta, scaling, length in scalings:
        config = {"max_position_embeddings": positions, "rope_theta": theta, "rope_scaling": scaling}
        reference = MixtralConfig(**(sizes | json.loads(json.dumps(config))))
        inverse, factor = ROPE_INIT_FUNCTIONS[scaling["rope_type"]](reference, "cpu", seq_len=length)
        cases.append({"config": config, "length": length, "inverse_frequency": inverse.tolist(), "attention_factor": factor})
    (out / "rope.json").write_text(json.dumps({"head_dim": 128, "cases": cases}) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    out = pathlib.Path(sys.argv[1])
    frequencies(out)
    for seed, (name, rope) in enumerate(CASES.items(), start=21):
        make(name, rope, out, seed)
