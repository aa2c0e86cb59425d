//! The shape of an encoder: from its configuration files where they exist, else from the shapes of its weights.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::safetensors::Array;

/// Most models of this family have heads of 64; the small ones with a hidden size of 384 have heads of 32.
const USUAL_HEAD_SIZE: usize = 64;
const SMALL_HEAD_SIZE: usize = 32;
const SMALL_HIDDEN_SIZE: usize = 384;
const USUAL_EPSILON: f64 = 1e-12;
/// Encoders that compute what this code does. Others with tensors of the same names do not, and nothing in the shapes shows it: the
/// positions of RoBERTa and its kin begin at 2.
const KNOWN_TYPES: [&str; 2] = ["bert", "electra"];
/// Configurations are a few kilobytes; a larger file is not one.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// What the encoder needs to know beyond its weights.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EncoderConfig {
    pub(crate) hidden_size: usize,
    pub(crate) heads: usize,
    pub(crate) layers: usize,
    pub(crate) epsilon: f64,
    /// Most tokens of a sequence.
    pub(crate) max_tokens: usize,
    pub(crate) pooling: Pooling,
}

/// How a sequence's token vectors become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pooling {
    Mean,
    First,
}

/// Why a configuration was refused: for whoever supplied the model.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("failed to read {path:?}")]
    Read { path: PathBuf, source: io::Error },
    #[error("failed to understand {path:?}")]
    Parse { path: PathBuf, source: serde_json::Error },
    #[error("encoders of type {kind:?} are not supported; bert and electra are")]
    ChooseType { kind: String },
    #[error("the configuration names {written} layers, the weights have {found}")]
    CountLayers { written: usize, found: usize },
    #[error("pooling by {modes:?} is not supported; by the mean or the first token is")]
    ChoosePooling { modes: String },
    #[error("the activation {activation:?} is not supported; gelu is")]
    ChooseActivation { activation: String },
    #[error("position embeddings of type {kind:?} are not supported; absolute ones are")]
    ChoosePositions { kind: String },
    #[error("tensor {name:?} is missing or has an unexpected shape")]
    FindTensor { name: String },
    #[error("{heads} heads do not divide a hidden size of {hidden_size}")]
    DivideHeads { heads: usize, hidden_size: usize },
}

#[derive(Deserialize)]
struct ModelConfig {
    num_attention_heads: usize,
    #[serde(default)]
    model_type: Option<String>,
    #[serde(default)]
    num_hidden_layers: Option<usize>,
    #[serde(default)]
    layer_norm_eps: Option<f64>,
    #[serde(default)]
    hidden_act: Option<String>,
    #[serde(default)]
    position_embedding_type: Option<String>,
}

#[derive(Deserialize)]
struct SentenceConfig {
    max_seq_length: usize,
}

/// One field `pooling_mode_…` for each way, of which several may be true, or a single `pooling_mode` that names the way.
type PoolingConfig = BTreeMap<String, Value>;

impl EncoderConfig {
    /// Reads `config` if given, and what sentence-transformers keeps beside it: the length limit and the pooling.
    pub(crate) fn resolve(
        config: Option<&Path>,
        weights: &Path,
        arrays: &BTreeMap<String, Array>,
    ) -> Result<Self, ConfigError> {
        let folder = config.or(Some(weights)).and_then(Path::parent).unwrap_or(Path::new(""));
        let model = config.map(read_json::<ModelConfig>).transpose()?;
        model.as_ref().map_or(Ok(()), check)?;
        let sentence = read_if_there::<SentenceConfig>(&folder.join("sentence_bert_config.json"))?;
        let pooling = read_if_there::<PoolingConfig>(&folder.join("1_Pooling").join("config.json"))?;

        let [_, hidden_size] = shape_of(arrays, "embeddings.word_embeddings.weight")?;
        let [positions, _] = shape_of(arrays, "embeddings.position_embeddings.weight")?;
        // A layer that is missing below the last one is missed when the encoder is built.
        let layers = arrays.keys().filter_map(|name| layer_of(name)).max().map_or(0, |last| last as usize + 1);
        let heads = match &model {
            Some(model) => model.num_attention_heads,
            None if hidden_size == SMALL_HIDDEN_SIZE => hidden_size / SMALL_HEAD_SIZE,
            None => hidden_size / USUAL_HEAD_SIZE,
        };
        if layers == 0 {
            return Err(ConfigError::FindTensor { name: "encoder.layer.0.attention.self.query.weight".to_owned() });
        }
        if let Some(written) = model.as_ref().and_then(|model| model.num_hidden_layers)
            && written != layers
        {
            return Err(ConfigError::CountLayers { written, found: layers });
        }
        if heads == 0 || hidden_size == 0 || hidden_size % heads != 0 {
            return Err(ConfigError::DivideHeads { heads, hidden_size });
        }
        let max_tokens = sentence.map_or(positions, |sentence| sentence.max_seq_length.min(positions));
        Ok(Self {
            hidden_size,
            heads,
            layers,
            epsilon: model.and_then(|model| model.layer_norm_eps).unwrap_or(USUAL_EPSILON),
            max_tokens,
            pooling: pooling.as_ref().map_or(Ok(Pooling::Mean), chosen_pooling)?,
        })
    }
}

fn check(model: &ModelConfig) -> Result<(), ConfigError> {
    if let Some(kind) = model.model_type.as_deref()
        && !KNOWN_TYPES.contains(&kind)
    {
        return Err(ConfigError::ChooseType { kind: kind.to_owned() });
    }
    match (model.hidden_act.as_deref(), model.position_embedding_type.as_deref()) {
        (Some(activation), _) if activation != "gelu" => {
            Err(ConfigError::ChooseActivation { activation: activation.to_owned() })
        }
        (_, Some(kind)) if kind != "absolute" => Err(ConfigError::ChoosePositions { kind: kind.to_owned() }),
        _ => Ok(()),
    }
}

fn chosen_pooling(config: &PoolingConfig) -> Result<Pooling, ConfigError> {
    let modes: Vec<&str> = match config.get("pooling_mode") {
        Some(Value::String(mode)) => vec![mode.as_str()],
        _ => {
            let chosen = config.iter().filter(|(_, value)| value.as_bool() == Some(true));
            chosen.filter_map(|(name, _)| name.strip_prefix("pooling_mode_")).collect()
        }
    };
    match modes.as_slice() {
        // A mean and a sum over the root of a length differ in length alone, and vectors are brought to length 1.
        [] | ["mean" | "mean_tokens" | "mean_sqrt_len_tokens"] => Ok(Pooling::Mean),
        ["cls" | "cls_token"] => Ok(Pooling::First),
        _ => Err(ConfigError::ChoosePooling { modes: modes.join(", ") }),
    }
}

/// The number of the layer that a tensor belongs to.
fn layer_of(name: &str) -> Option<u32> {
    name.strip_prefix("encoder.layer.")?.split('.').next()?.parse().ok()
}

fn shape_of(arrays: &BTreeMap<String, Array>, name: &str) -> Result<[usize; 2], ConfigError> {
    let shape = arrays.get(name).and_then(|array| <[usize; 2]>::try_from(array.shape.as_slice()).ok());
    shape.ok_or_else(|| ConfigError::FindTensor { name: name.to_owned() })
}

fn read_if_there<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ConfigError> {
    if path.is_file() { read_json(path).map(Some) } else { Ok(None) }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let bytes = read_bounded(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    serde_json::from_slice(&bytes).map_err(|source| ConfigError::Parse { path: path.to_owned(), source })
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    if std::fs::metadata(path)?.len() > MAX_CONFIG_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than a configuration can be"));
    }
    std::fs::read(path)
}
