"""Writes a tiny llama model of random weights: model.py FILE. It speaks in syllables, and never stops by itself."""

import sys

import gguf
import numpy

LAYERS, WIDTH, HEADS, INNER, CONTEXT = 4, 512, 8, 2048, 4096
SYLLABLES = [f"▁{consonant}{vowel}" for consonant in "bdfklmnpst" for vowel in "aeiou"]
SPECIAL = ["<unk>", "<s>", "</s>"]
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def main(file):
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    vocabulary(writer)
    weights(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def vocabulary(writer):
    kinds = gguf.TokenType
    tokens = SPECIAL + [f"<0x{byte:02X}>" for byte in range(256)] + SYLLABLES
    types = [kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL] + [kinds.BYTE] * 256 + [kinds.NORMAL] * len(SYLLABLES)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template(TEMPLATE)


def weights(writer):
    random = numpy.random.default_rng(7)
    matrix = lambda rows, columns: (random.standard_normal((rows, columns)) / columns**0.5).astype(numpy.float32)
    ones = numpy.ones(WIDTH, dtype=numpy.float32)
    others = len(SPECIAL) + 256
    size = others + len(SYLLABLES)
    writer.add_tensor("token_embd.weight", matrix(size, WIDTH) * 20)
    output = matrix(size, WIDTH)
    # Always zero, and some syllable is always above it: neither bytes nor an end are ever chosen.
    output[:others] = 0
    writer.add_tensor("output.weight", output * 20)
    writer.add_tensor("output_norm.weight", ones)
    for layer in range(LAYERS):
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", ones)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", matrix(WIDTH, WIDTH))
        for name, shape in (("ffn_gate", (INNER, WIDTH)), ("ffn_up", (INNER, WIDTH)), ("ffn_down", (WIDTH, INNER))):
            writer.add_tensor(f"blk.{layer}.{name}.weight", matrix(*shape))


main(sys.argv[1])
