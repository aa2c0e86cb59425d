//! As much of HTTP/1.1 as a client of an API server speaks: requests with a length, answers with a length or in chunks.

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Longest head and longest body that is taken: etcd takes no object of more than 1.5 MB.
const LONGEST_LINE: usize = 64 << 10;
const LONGEST_BODY: usize = 8 << 20;

/// A request as it came.
pub struct Request {
    /// Such as `PATCH`.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// In their order.
    pub headers: Vec<(String, String)>,
    /// All of it.
    pub body: Vec<u8>,
}

impl Request {
    /// Reads the next one; none where the peer has ended the connection.
    pub async fn read(from: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<Self>> {
        let first = line(from).await?;
        let Some(first) = first.filter(|first| !first.is_empty()) else { return Ok(None) };
        let mut words = first.split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else { bail!("no request: \"{first}\"") };
        let (method, target) = (method.to_owned(), target.to_owned());
        let mut headers = Vec::new();
        while let Some(header) = line(from).await?.filter(|header| !header.is_empty()) {
            let (name, value) = header.split_once(':').with_context(|| format!("no header: \"{header}\""))?;
            headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
        let header = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        ensure!(header("transfer-encoding").is_none(), "a request in chunks is not understood");
        let length: usize = header("content-length").unwrap_or("0").parse().context("read the length of a request")?;
        ensure!(length <= LONGEST_BODY, "a request of {length} bytes is too long");
        let mut body = vec![0; length];
        from.read_exact(&mut body).await.context("read the body of a request")?;
        Ok(Some(Self { method, target, headers, body }))
    }
}

async fn line(from: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<String>> {
    let mut line = Vec::new();
    if from.take(LONGEST_LINE as u64).read_until(b'\n', &mut line).await.context("read a request")? == 0 {
        return Ok(None);
    }
    let text = String::from_utf8(line).context("read a request")?;
    ensure!(text.ends_with('\n'), "a line of a request is cut or too long");
    Ok(Some(text.trim_end().to_owned()))
}

/// The head of an answer whose body follows in chunks, or has this length.
pub async fn write_head(
    to: &mut (impl AsyncWrite + Unpin),
    status: u16,
    headers: &[(String, String)],
    length: Option<usize>,
) -> Result<()> {
    let mut head = format!("HTTP/1.1 {status} -\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head +=
        &length.map_or("transfer-encoding: chunked\r\n".to_owned(), |length| format!("content-length: {length}\r\n"));
    head += "\r\n";
    to.write_all(head.as_bytes()).await.context("write an answer")
}

/// A chunk of a body.
pub async fn write_chunk(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    to.write_all(&chunk).await.context("write an answer")
}

/// The end of a body in chunks.
pub async fn write_end(to: &mut (impl AsyncWrite + Unpin)) -> Result<()> {
    to.write_all(b"0\r\n\r\n").await.context("write an answer")
}
