//! A model's dimensions, read from the GGUF metadata and kept within bounds that later sizes rely on.

use crate::generation::Error;
use crate::generation::blocks::LANES;
use crate::gguf::{self, Header};

/// Gemma 3's published base for the layers with a window; its files leave it out.
const GEMMA_LOCAL_ROPE_BASE: f64 = 10_000.0;
/// Every sixth layer of Gemma 3 sees the whole context.
const GEMMA_GLOBAL_EVERY: usize = 6;
/// The one Gemma 3 (27B) whose scores are scaled by width over heads.
const GEMMA_27B_LAYERS: usize = 62;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::generation) enum Family {
    Llama,
    Gemma3,
}

/// The dimensions that the forward pass needs.
#[derive(Debug, Clone)]
pub(in crate::generation) struct Config {
    pub(super) family: Family,
    pub(super) layers: usize,
    pub(super) width: usize,
    pub(super) hidden: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_width: usize,
    pub(super) epsilon: f32,
    pub(super) rope_width: usize,
    pub(super) rope_base: f64,
    /// What positions of the layers without a window are multiplied by.
    pub(super) rope_scale: f64,
    pub(super) local_rope_base: f64,
    pub(super) window: Option<usize>,
    pub(super) attention_scale: f32,
    pub(in crate::generation) vocabulary: usize,
    /// Most positions of a sequence.
    pub(in crate::generation) context: usize,
}

impl Config {
    pub(super) fn read(header: &Header, wanted_context: usize) -> Result<Self, Error> {
        let architecture = header.text("general.architecture").map_err(Error::Header)?;
        let family = match architecture {
            "llama" => Family::Llama,
            "gemma3" => Family::Gemma3,
            other => return Err(Error::Architecture(other.to_owned())),
        };
        let fields = Fields { header, architecture };
        let layers = fields.size("block_count", 1024)?;
        let width = fields.size("embedding_length", 1 << 16)?;
        let hidden = fields.size("feed_forward_length", 1 << 18)?;
        let heads = fields.size("attention.head_count", 1024)?;
        let kv_heads = fields.optional_size("attention.head_count_kv", 1024)?.unwrap_or(heads);
        let head_width = fields.optional_size("attention.key_length", 1024)?.unwrap_or(width / heads);
        let rope_width = fields.optional_size("rope.dimension_count", 1024)?.unwrap_or(head_width);
        let trained_context = fields.size("context_length", 1 << 24)?;
        let window = match family {
            Family::Llama => None,
            Family::Gemma3 => Some(fields.size("attention.sliding_window", 1 << 24)?),
        };
        let scaled_by = match (family, layers) {
            (Family::Gemma3, GEMMA_27B_LAYERS) => width / heads,
            _ => head_width,
        };
        let config = Self {
            family,
            layers,
            width,
            hidden,
            heads,
            kv_heads,
            head_width,
            epsilon: fields.float("attention.layer_norm_rms_epsilon")?.unwrap_or(1e-6) as f32,
            rope_width,
            rope_base: fields.float("rope.freq_base")?.unwrap_or(10_000.0),
            rope_scale: fields.rope_scale()?,
            local_rope_base: GEMMA_LOCAL_ROPE_BASE,
            window,
            attention_scale: 1.0 / (scaled_by as f32).sqrt(),
            vocabulary: header.tensor("token_embd.weight").map_err(Error::Header)?.shape[0],
            context: wanted_context.min(trained_context),
        };
        config.check(&fields)?;
        Ok(config)
    }

    /// Whether a layer sees only the window before it.
    pub(super) fn is_local(&self, layer: usize) -> bool {
        self.window.is_some() && !(layer + 1).is_multiple_of(GEMMA_GLOBAL_EVERY)
    }

    fn check(&self, fields: &Fields<'_>) -> Result<(), Error> {
        let refuse = |reason: String| Err(Error::Configuration(reason));
        if self.kv_heads == 0 || self.head_width == 0 || self.rope_width == 0 {
            return refuse("there are no key heads, or heads without width or rotation".to_owned());
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return refuse(format!("{} heads do not share {} key heads evenly", self.heads, self.kv_heads));
        }
        if !self.head_width.is_multiple_of(LANES) {
            return refuse(format!("heads are {} wide, no multiple of {LANES}", self.head_width));
        }
        if !self.rope_width.is_multiple_of(2) || self.rope_width > self.head_width {
            return refuse(format!("{} of {} dimensions of a head are rotated", self.rope_width, self.head_width));
        }
        if self.context == 0 {
            return refuse("the context has no room for a token".to_owned());
        }
        if !(self.rope_base.is_finite() && self.rope_base > 1.0 && self.rope_scale.is_finite() && self.epsilon > 0.0) {
            return refuse("a rotation base, its scale or the norm's epsilon is out of range".to_owned());
        }
        if fields.optional_size("expert_count", u32::MAX as usize)?.is_some_and(|experts| experts > 0) {
            return refuse("mixtures of experts are not supported".to_owned());
        }
        if fields.header.tensors.contains_key("blk.0.attn_q.bias") {
            return refuse("biases in attention are not supported".to_owned());
        }
        Ok(())
    }
}

struct Fields<'a> {
    header: &'a Header,
    architecture: &'a str,
}

impl Fields<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn size(&self, name: &str, limit: usize) -> Result<usize, Error> {
        match self.optional_size(name, limit)? {
            Some(0) => Err(Error::Configuration(format!("\"{}\" is 0", self.key(name)))),
            Some(size) => Ok(size),
            None => Err(Error::Header(gguf::Error::Missing(self.key(name)))),
        }
    }

    fn optional_size(&self, name: &str, limit: usize) -> Result<Option<usize>, Error> {
        let found = gguf::optional(self.header.integer(&self.key(name))).map_err(Error::Header)?;
        match found {
            Some(size) if size > limit as u64 => {
                Err(Error::Configuration(format!("\"{}\" is {size}, more than {limit}", self.key(name))))
            }
            found => Ok(found.map(|size| size as usize)),
        }
    }

    fn float(&self, name: &str) -> Result<Option<f64>, Error> {
        gguf::optional(self.header.float(&self.key(name))).map_err(Error::Header)
    }

    fn rope_scale(&self) -> Result<f64, Error> {
        let kind = gguf::optional(self.header.text(&self.key("rope.scaling.type"))).map_err(Error::Header)?;
        match kind {
            None | Some("none") => Ok(1.0),
            Some("linear") => Ok(1.0 / self.float("rope.scaling.factor")?.unwrap_or(1.0)),
            Some(other) => Err(Error::Configuration(format!("rotation scaling \"{other}\" is not supported"))),
        }
    }
}
