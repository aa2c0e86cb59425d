//! A tiny encoder that is written to disk in a moment.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

pub const HIDDEN: usize = 32;
pub const INNER: usize = 64;
pub const POSITIONS: usize = 64;
pub const HEADS: usize = 2;
const LAYERS: usize = 2;

/// Names, shapes and values of a tiny encoder, different for each seed.
pub fn tiny_tensors(seed: u32) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let mut tensors = BTreeMap::new();
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    let mut add = |name: String, shape: &[usize], centre: f32, spread: f32| {
        let count = shape.iter().product();
        let values = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            centre + spread * ((state >> 8) as f32 / (1 << 23) as f32 - 1.0)
        });
        tensors.insert(name, (shape.to_vec(), values.take(count).collect()));
    };
    let vocabulary = tiny_vocabulary().len();
    add("embeddings.word_embeddings.weight".into(), &[vocabulary, HIDDEN], 0.0, 1.0);
    add("embeddings.position_embeddings.weight".into(), &[POSITIONS, HIDDEN], 0.0, 0.5);
    add("embeddings.token_type_embeddings.weight".into(), &[2, HIDDEN], 0.0, 0.5);
    add("embeddings.LayerNorm.weight".into(), &[HIDDEN], 1.0, 0.2);
    add("embeddings.LayerNorm.bias".into(), &[HIDDEN], 0.0, 0.2);
    for layer in 0..LAYERS {
        let layer = format!("encoder.layer.{layer}");
        for (part, outputs, inputs) in [
            ("attention.self.query", HIDDEN, HIDDEN),
            ("attention.self.key", HIDDEN, HIDDEN),
            ("attention.self.value", HIDDEN, HIDDEN),
            ("attention.output.dense", HIDDEN, HIDDEN),
            ("intermediate.dense", INNER, HIDDEN),
            ("output.dense", HIDDEN, INNER),
        ] {
            add(format!("{layer}.{part}.weight"), &[outputs, inputs], 0.0, 0.4);
            add(format!("{layer}.{part}.bias"), &[outputs], 0.0, 0.1);
        }
        for part in ["attention.output.LayerNorm", "output.LayerNorm"] {
            add(format!("{layer}.{part}.weight"), &[HIDDEN], 1.0, 0.2);
            add(format!("{layer}.{part}.bias"), &[HIDDEN], 0.0, 0.2);
        }
    }
    tensors
}

/// A safetensors file of f32 tensors.
pub fn safetensors(tensors: &BTreeMap<String, (Vec<usize>, Vec<f32>)>) -> Vec<u8> {
    let mut header = String::from("{");
    let mut data = Vec::new();
    for (name, (shape, values)) in tensors {
        let start = data.len();
        values.iter().for_each(|value| data.extend(value.to_le_bytes()));
        let comma = if start == 0 { "" } else { "," };
        write!(
            header,
            "{comma}\"{name}\":{{\"dtype\":\"F32\",\"shape\":{shape:?},\"data_offsets\":[{start},{}]}}",
            data.len()
        )
        .expect("writing to a string cannot fail");
    }
    header.push('}');
    with_header(header.as_bytes(), &data)
}

/// A file with any header and any data.
pub fn with_header(header: &[u8], data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.extend(data);
    bytes
}

/// Special tokens, then every letter and digit at the start of a word and inside one.
fn tiny_vocabulary() -> Vec<String> {
    let characters: Vec<char> = ('a'..='z').chain('0'..='9').collect();
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"].map(String::from);
    let starts = characters.iter().map(char::to_string);
    let insides = characters.iter().map(|character| format!("##{character}"));
    special.into_iter().chain(starts).chain(insides).collect()
}

/// A tokenizer with one token a letter; it truncates and pads, which the engine must turn off.
pub fn tiny_tokenizer() -> String {
    let vocabulary: Vec<String> =
        tiny_vocabulary().iter().enumerate().map(|(id, token)| format!("\"{token}\":{id}")).collect();
    let added: Vec<String> = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
        .iter()
        .enumerate()
        .map(|(id, token)| {
            format!(
                "{{\"id\":{id},\"content\":\"{token}\",\"special\":true,\"single_word\":false,\"lstrip\":false,\
                 \"rstrip\":false,\"normalized\":false}}"
            )
        })
        .collect();
    format!(
        r###"{{"version":"1.0",
        "truncation":{{"max_length":8,"strategy":"LongestFirst","stride":0}},
        "padding":{{"strategy":{{"Fixed":8}},"direction":"Right","pad_to_multiple_of":null,"pad_id":0,"pad_type_id":0,"pad_token":"[PAD]"}},
        "added_tokens":[{}],
        "normalizer":{{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":true}},
        "pre_tokenizer":{{"type":"BertPreTokenizer"}},
        "post_processor":{{"type":"TemplateProcessing",
            "single":[{{"SpecialToken":{{"id":"[CLS]","type_id":0}}}},{{"Sequence":{{"id":"A","type_id":0}}}},{{"SpecialToken":{{"id":"[SEP]","type_id":0}}}}],
            "pair":[{{"Sequence":{{"id":"A","type_id":0}}}},{{"Sequence":{{"id":"B","type_id":1}}}}],
            "special_tokens":{{"[CLS]":{{"id":"[CLS]","ids":[2],"tokens":["[CLS]"]}},"[SEP]":{{"id":"[SEP]","ids":[3],"tokens":["[SEP]"]}}}}}},
        "decoder":{{"type":"WordPiece","prefix":"##","cleanup":true}},
        "model":{{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":100,
            "vocab":{{{}}}}}}}"###,
        added.join(","),
        vocabulary.join(",")
    )
}

/// Writes the tiny model into `folder`.
pub fn write_tiny_model(folder: &Path, seed: u32) {
    let config = format!("{{\"num_attention_heads\": {HEADS}, \"hidden_act\": \"gelu\", \"layer_norm_eps\": 1e-12}}");
    std::fs::write(folder.join("model.safetensors"), safetensors(&tiny_tensors(seed))).expect("the folder is writable");
    std::fs::write(folder.join("tokenizer.json"), tiny_tokenizer()).expect("the folder is writable");
    std::fs::write(folder.join("config.json"), config).expect("the folder is writable");
}
