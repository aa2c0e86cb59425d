//! Bytes by digest.

use bytes::Bytes;
use futures::{StreamExt, stream};
use queue::{ByteStream, Error};

use super::Fixture;

/// Bytes that do not compress, the same in every run.
pub fn noise(length: usize) -> Bytes {
    let mut noise = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    noise.into()
}

pub async fn a_payload_is_named_by_its_digest_and_read_back(fixture: &Fixture) {
    let payloads = &fixture.ports.payloads;
    let digest = payloads.put("hello".into()).await.expect("put");
    assert_eq!(digest, blake3::hash(b"hello").to_hex().as_str());
    assert_eq!(payloads.get(&digest).await.expect("get"), "hello");
    assert!(payloads.contains(&digest).await.expect("contains"));
    assert_eq!(payloads.list(None, 1_000).await.expect("list"), [digest]);
}

pub async fn putting_twice_stores_once(fixture: &Fixture) {
    let payloads = &fixture.ports.payloads;
    for payload in [Bytes::from("hello"), noise(200_000)] {
        let first = payloads.put(payload.clone()).await.expect("put");
        let second = payloads.put(payload.clone()).await.expect("put again");
        assert_eq!(first, second);
        assert_eq!(payloads.get(&first).await.expect("get"), payload);
    }
    assert_eq!(payloads.list(None, 1_000).await.expect("list").len(), 2);
}

pub async fn a_payload_that_is_not_there_is_not_found(fixture: &Fixture) {
    let digest = blake3::hash(b"never stored").to_hex().to_string();
    let missing = fixture.ports.payloads.get(&digest).await;
    assert!(matches!(&missing, Err(Error::NotFound { name }) if *name == digest), "{missing:?}");
    assert!(!fixture.ports.payloads.contains(&digest).await.expect("contains"));
}

pub async fn a_name_that_is_no_digest_is_not_found(fixture: &Fixture) {
    let payloads = &fixture.ports.payloads;
    let digest = payloads.put("hello".into()).await.expect("put");
    for name in ["", "../../etc/passwd", "ab", &digest.to_uppercase(), &format!("{digest}0")] {
        let missing = payloads.get(name).await;
        assert!(matches!(missing, Err(Error::NotFound { .. })), "{missing:?}");
        assert!(!payloads.contains(name).await.expect("contains"));
        payloads.delete(name).await.expect("deleting nothing");
    }
    assert!(payloads.contains(&digest).await.expect("contains"));
}

pub async fn deleting_removes_and_deleting_nothing_is_no_error(fixture: &Fixture) {
    let payloads = &fixture.ports.payloads;
    for payload in [Bytes::from("hello"), noise(200_000)] {
        let digest = payloads.put(payload).await.expect("put");
        payloads.delete(&digest).await.expect("delete");
        payloads.delete(&digest).await.expect("deleting nothing");
        assert!(matches!(payloads.get(&digest).await, Err(Error::NotFound { .. })));
    }
    assert!(payloads.list(None, 1_000).await.expect("list").is_empty());
}

pub async fn payloads_of_every_size_come_back_whole(fixture: &Fixture) {
    let payloads = &fixture.ports.payloads;
    let mut digests = Vec::new();
    for length in [0, 1, 1023, 1024, 4096, 65_535, 65_536, 70_000, 20 << 20] {
        let text = Bytes::from("a licence is a licence is ".repeat(length / 26 + 1)).slice(..length);
        for payload in [noise(length), text] {
            let digest = payloads.put(payload.clone()).await.expect("put");
            assert!(payloads.get(&digest).await.expect("get") == payload, "{length} bytes");
            digests.push(digest);
        }
    }
    digests.sort();
    digests.dedup();
    assert_eq!(payloads.list(None, 1_000).await.expect("list"), digests);
}

pub async fn digests_are_listed_a_page_at_a_time_in_order(fixture: &Fixture) {
    let payloads = &fixture.ports.payloads;
    let mut digests = Vec::new();
    for n in 0..20 {
        // Some large enough to lie elsewhere than the small ones.
        let payload = if n % 5 == 0 { noise(100_000 + n) } else { Bytes::from(format!("payload {n}")) };
        digests.push(payloads.put(payload).await.expect("put"));
    }
    digests.sort();
    let mut listed: Vec<String> = Vec::new();
    loop {
        let page = payloads.list(listed.last().map(String::as_str), 7).await.expect("list");
        assert!(page.len() <= 7);
        if page.is_empty() {
            break;
        }
        listed.extend(page);
    }
    assert_eq!(listed, digests);
    payloads.scrub().await.expect("scrub");
    assert_eq!(payloads.list(None, 100).await.expect("list"), digests, "nothing else is lost");
    assert_eq!(
        payloads.get(&digests[3]).await.map(|bytes| blake3::hash(&bytes)).expect("get").to_hex().as_str(),
        digests[3]
    );
}

/// A payload in parts of that size.
fn in_parts(payload: &Bytes, size: usize) -> ByteStream<'static> {
    let parts: Vec<_> = (0..payload.len())
        .step_by(size)
        .map(|start| Ok(payload.slice(start..payload.len().min(start + size))))
        .collect();
    stream::iter(parts).boxed()
}

pub async fn a_payload_that_comes_in_parts_is_the_same_payload(fixture: &Fixture) {
    let payloads = &fixture.ports.payloads;
    let mut digests = Vec::new();
    for (length, part) in
        [(0, 1), (1, 1), (70_000, 1_000), (1 << 20, 1 << 16), ((1 << 20) + 1, 1 << 20), (9 << 20, 3 << 20)]
    {
        let text = Bytes::from("a licence is a licence is ".repeat(length / 26 + 1)).slice(..length);
        for payload in [noise(length), text] {
            let (digest, taken) = payloads.put_stream(in_parts(&payload, part)).await.expect("put");
            assert_eq!((digest.as_str(), taken), (blake3::hash(&payload).to_hex().as_str(), length as u64));
            assert!(payloads.get(&digest).await.expect("get") == payload, "{length} bytes");
            // However it came: it is stored once, and read back.
            assert_eq!(payloads.put(payload.clone()).await.expect("put at once"), digest);
            assert_eq!(payloads.put_stream(in_parts(&payload, 1 << 20)).await.expect("put again").0, digest);
            assert!(payloads.get(&digest).await.expect("get") == payload, "{length} bytes, again");
            digests.push(digest);
        }
    }
    digests.sort();
    digests.dedup();
    assert_eq!(payloads.list(None, 1_000).await.expect("list"), digests);
    for digest in &digests {
        payloads.delete(digest).await.expect("delete");
        assert!(matches!(payloads.get(digest).await, Err(Error::NotFound { .. })));
    }
    assert!(payloads.list(None, 1_000).await.expect("list").is_empty());
}

pub async fn a_payload_that_breaks_off_leaves_nothing(fixture: &Fixture) {
    let payloads = &fixture.ports.payloads;
    for length in [100, 20 << 20] {
        let whole = noise(length);
        let broken = in_parts(&whole, 1 << 20).chain(stream::iter([Err("the client went away".into())]));
        let put = payloads.put_stream(broken.boxed()).await;
        assert!(matches!(&put, Err(Error::Source(why)) if why.to_string() == "the client went away"), "{put:?}");
        assert!(!payloads.contains(blake3::hash(&whole).to_hex().as_str()).await.expect("contains"));
    }
    assert!(payloads.list(None, 1_000).await.expect("list").is_empty());
}

pub async fn a_put_that_is_given_up_leaves_nothing(fixture: &Fixture) {
    let payloads = &fixture.ports.payloads;
    let endless = in_parts(&noise(9 << 20), 1 << 20).chain(stream::pending());
    let put = tokio::time::timeout(std::time::Duration::from_millis(500), payloads.put_stream(endless.boxed())).await;
    assert!(put.is_err(), "it waits for the rest");
    assert!(payloads.list(None, 1_000).await.expect("list").is_empty());
    payloads.put("what follows is stored".into()).await.expect("put");
    assert_eq!(payloads.list(None, 1_000).await.expect("list").len(), 1);
}
